//! The memory of stacks, from the system.

use super::page_size;
pub(super) use corosensei::stack::valgrind::ValgrindStackRegistration as Registration;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

/// Reserves that many bytes, which are committed page by page as they are touched.
///
/// # Errors
///
/// What the system says when it does not give memory.
pub(super) fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh anonymous mapping at an address that the system chooses.
    let bottom = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), bytes, protection, flags) }?;
    #[cfg(target_os = "linux")]
    {
        // A huge page would commit two mebibytes for a fiber that uses one page.
        // SAFETY: the range was just mapped. What it says is advice.
        let _ = unsafe { libc::madvise(bottom, bytes, libc::MADV_NOHUGEPAGE) };
    }
    Ok(NonNull::new(bottom.cast()).ok_or(io::ErrorKind::OutOfMemory)?)
}

/// Ends a reservation.
///
/// # Safety
///
/// The range is a whole one of [`reserve`], and nothing uses it.
pub(super) unsafe fn release(bottom: NonNull<u8>, bytes: usize) {
    // SAFETY: as the caller says.
    let result = unsafe { rustix::mm::munmap(bottom.as_ptr().cast(), bytes) };
    debug_assert!(result.is_ok(), "unmapping a whole mapping of ours cannot fail");
}

/// Gives the memory of a range back to the system; it stays reserved and guarded.
///
/// # Safety
///
/// The range is part of a reservation, from a page's begin on, and what is there is not needed.
pub(super) unsafe fn decommit(bottom: NonNull<u8>, bytes: usize) {
    // SAFETY: as the caller says. What it says is advice.
    let _ = unsafe { libc::madvise(bottom.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
}

/// Makes the page at `bottom` a guard.
pub(super) fn guard(bottom: NonNull<u8>) -> io::Result<()> {
    if light_guards::are_available() { light_guards::install(bottom) } else { protect(bottom) }
}

/// Makes the page at `bottom` a guard in the way that every system knows, which splits the mapping.
pub(super) fn protect(bottom: NonNull<u8>) -> io::Result<()> {
    let address: *mut c_void = bottom.as_ptr().cast();
    // SAFETY: the page belongs to a mapping of ours and is not in use.
    unsafe { rustix::mm::mprotect(address, page_size(), MprotectFlags::empty()) }?;
    Ok(())
}

/// Guards that leave a mapping in one piece.
#[cfg(target_os = "linux")]
pub(super) mod light_guards {
    use super::super::{Slab, page_size};
    use std::io;
    use std::ptr::NonNull;
    use std::sync::OnceLock;

    /// `MADV_GUARD_INSTALL`, which the C library's headers do not name yet.
    const GUARD_INSTALL: i32 = 102;

    /// Whether the kernel knows them: asked once, on a page of its own.
    pub(in super::super) fn are_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        let probe = || Slab::map(1, page_size()).is_ok_and(|page| install(page.bottom).is_ok());
        *AVAILABLE.get_or_init(probe)
    }

    pub(in super::super) fn install(page: NonNull<u8>) -> io::Result<()> {
        // SAFETY: the page belongs to a mapping of ours and is not in use.
        let result = unsafe { libc::madvise(page.as_ptr().cast(), page_size(), GUARD_INSTALL) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Other systems have none.
#[cfg(not(target_os = "linux"))]
pub(super) mod light_guards {
    use std::io;
    use std::ptr::NonNull;

    pub(in super::super) fn are_available() -> bool {
        false
    }

    pub(in super::super) fn install(_page: NonNull<u8>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
