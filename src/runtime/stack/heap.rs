//! In the place of the system's memory for stacks, which Miri does not know: that of the allocator.

use super::page_size;
use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;

fn layout(bytes: usize) -> io::Result<Layout> {
    Layout::from_size_align(bytes, page_size()).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

pub(super) fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: no stack is empty.
    let bottom = unsafe { alloc::alloc(layout(bytes)?) };
    Ok(NonNull::new(bottom).ok_or(io::ErrorKind::OutOfMemory)?)
}

/// # Safety
///
/// The range is a whole one of [`reserve`], and nothing uses it.
pub(super) unsafe fn release(bottom: NonNull<u8>, bytes: usize) {
    let layout = layout(bytes).expect("it was reserved by that");
    // SAFETY: as the caller says.
    unsafe { alloc::dealloc(bottom.as_ptr(), layout) };
}

pub(super) unsafe fn decommit(_bottom: NonNull<u8>, _bytes: usize) {}

pub(super) fn guard(_bottom: NonNull<u8>) -> io::Result<()> {
    Ok(())
}

#[derive(Debug)]
pub(super) struct Registration;

impl Registration {
    pub(super) fn new(_bottom: *mut u8, _bytes: usize) -> Self {
        Self
    }
}
