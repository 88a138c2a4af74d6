#![expect(unsafe_code, reason = "stacks are mapped memory")]
//! Stacks for fibers, cut from large mappings.
//!
//! Address space is reserved in *slabs* of many stacks; memory is committed page by page as stacks are touched. Each
//! stack's lowest page is a guard. Linux 6.13 and later can guard pages within a mapping (`MADV_GUARD_INSTALL`), so that a
//! slab is one memory map however many stacks it holds; elsewhere each guard is made by `mprotect`, which splits the
//! mapping in two per stack and runs into the limit of maps per process (`vm.max_map_count`) near 32,000 stacks.
//!
//! Since stacks have equal sizes, the same depth in each would fall into the same sets of the processor's caches. So the
//! usable top of each is lowered by a *colour*, a multiple of [`COLOUR_STEP`].

#[cfg_attr(miri, path = "stack/heap.rs")]
mod memory;

use super::heights::{self, Use};
use super::regions::{self, Region, Spot};
use super::roster::Roster;
use corosensei::stack::{MIN_STACK_SIZE, STACK_ALIGNMENT, Stack, StackPointer};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

const CACHE_LINE: usize = 64;
/// Bytes between two colours: more than what a fork takes of a stack, so that what parent and child use in turn differs in the
/// low bits of its addresses, and an odd number of cache lines.
const COLOUR_STEP: usize = 704;
/// How many colours there are. The control block, the colour and the frames of a task that forks fit into one page.
const COLOURS: usize = 4;
/// Stacks in the first slab of a pool; each further slab has twice as many as the one before.
const FIRST_SLAB: usize = 32;
/// No slab that holds more than one stack reserves more bytes than this.
const LARGEST_SLAB: usize = 1 << 32;

/// Where the address space of the process is limited, this many bytes of it are not used for stacks: a program that can
/// have no fiber more goes on, one whose allocator gets nothing does not.
const LEFT_TO_OTHERS: usize = 64 << 20;

/// The smallest stack that runs a task which itself does little, in bytes.
pub(crate) const SMALLEST_STACK: usize = 16 * 1024;

/// The memory of one stack, guard included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackSpace {
    /// The lowest address.
    bottom: NonNull<u8>,
    size: usize,
    colour: usize,
}

impl StackSpace {
    /// Sets the highest `size_of::<T>()` bytes aside for a `T` and gives their address, and the stack that remains.
    pub(super) fn split_top<T>(self) -> (NonNull<T>, FiberStack) {
        let top = self.bottom.as_ptr().addr() + self.size - self.colour * COLOUR_STEP;
        let control = (top - size_of::<T>()) & !(align_of::<T>().max(CACHE_LINE) - 1);
        let base = control & !(STACK_ALIGNMENT - 1);
        let control = self.bottom.map_addr(|_| NonZeroUsize::new(control).expect("no mapping ends at address zero"));
        let base = StackPointer::new(base).expect("no mapping ends at address zero");
        let limit = self.bottom.addr();
        let valgrind = memory::Registration::new(self.bottom.as_ptr(), base.get() - limit.get());
        (control.cast(), FiberStack { base, limit, _valgrind: valgrind })
    }

    /// The stack whose guard is at an address, of whichever executor. Fit for a signal handler; see
    /// [`spot_of`](regions::spot_of).
    pub(super) fn guarded_at(address: usize) -> Option<Self> {
        let Spot { region, stack_size, stack, height } = regions::spot_of(address)?;
        if height >= page_size() {
            return None;
        }
        let bottom = NonNull::new(ptr::with_exposed_provenance_mut(region + stack * stack_size))?;
        Some(Self { bottom, size: stack_size, colour: colour_of(stack) })
    }

    /// Bytes above the guard.
    pub(super) fn usable(self) -> usize {
        self.size - page_size()
    }

    /// How many usable bytes lie below something that is on the stack; `None` if it is elsewhere.
    pub(super) fn room_below<T>(self, here: &T) -> Option<usize> {
        let height = ptr::from_ref(here).addr().checked_sub(self.bottom.addr().get())?;
        (height < self.size).then(|| height.saturating_sub(page_size()))
    }

    /// How much of it is in memory.
    pub(super) fn measure(self) -> Use {
        let page = page_size();
        let pages = self.size / page;
        let figures = heights::look(self.bottom, pages, |seen| Use {
            resident: seen.iter().filter(|page| heights::is_resident(page)).count() * page,
            height: seen.iter().position(heights::is_resident).map_or(0, |lowest| (pages - lowest) * page),
        });
        figures.unwrap_or_default()
    }

    /// The larger of `known` and the bytes from the top down to the lowest page that is in memory.
    ///
    /// Frames touch their pages one by one from the top, as the compiler sees to. So if the page below the known ones is not in
    /// memory, which costs little to find out, none further down is.
    pub(super) fn height_above(self, known: usize) -> usize {
        let Some(below) = self.usable().checked_sub(known).filter(|&below| below > 0) else { return known };
        // SAFETY: the guard is the lowest page, and `below` is at least one page and at most all above the guard.
        let next = unsafe { self.bottom.add(below) };
        let is_deeper = heights::look(next, 1, |seen| seen.iter().any(heights::is_resident)) == Some(true);
        if is_deeper { self.measure().height } else { known }
    }

    /// Gives the memory back to the system; the stack stays reserved and guarded.
    ///
    /// # Safety
    ///
    /// Nothing on the stack is in use.
    pub(super) unsafe fn decommit(self) {
        let page = page_size();
        // SAFETY: the guard is one page, and the stack is larger.
        let usable = unsafe { self.bottom.add(page) };
        // SAFETY: the range is private anonymous memory of ours that nothing uses.
        unsafe { memory::decommit(usable, self.size - page) };
    }
}

/// The part of a stack that its coroutine runs on.
#[derive(Debug)]
pub(super) struct FiberStack {
    base: StackPointer,
    limit: StackPointer,
    /// Tells valgrind, if the process runs under it, that a jump to this stack is a switch and not a large frame. A few
    /// instructions without effect otherwise.
    _valgrind: memory::Registration,
}

// SAFETY: the stack has a guard page at its limit and more than the least size above it; both ends are aligned.
unsafe impl Stack for FiberStack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// The stacks of one worker.
#[derive(Debug)]
pub(super) struct StackPool {
    /// Bytes per stack, guard included.
    stack_size: usize,
    slabs: Vec<Slab>,
    /// Stacks of the latest slab that have been given out.
    used: usize,
    /// Stacks that were given back.
    free: Vec<StackSpace>,
}

impl StackPool {
    /// A pool of stacks with `usable` bytes each.
    pub(super) fn new(usable: usize) -> Self {
        let stack_size = round_up(usable).expect("the size was checked when the executor was built");
        Self { stack_size, slabs: Vec::new(), used: 0, free: Vec::new() }
    }

    /// A stack that nothing uses. New mappings are noted in the roster.
    ///
    /// # Errors
    ///
    /// What the system says when it does not give memory.
    pub(super) fn take(&mut self, roster: &Roster) -> io::Result<StackSpace> {
        if let Some(space) = self.free.pop() {
            return Ok(space);
        }
        if self.slabs.last().is_none_or(|slab| self.used == slab.stacks) {
            let mut slab = self.next_slab()?;
            slab.region = Some(Region::enter(slab.bottom.as_ptr().expose_provenance(), slab.bytes, self.stack_size));
            roster.enter_slab(slab.bytes);
            self.slabs.push(slab);
            self.used = 0;
        }
        let slab = self.slabs.last().expect("one was just mapped if there was none");
        let space = slab.stack(self.used, self.stack_size);
        memory::guard(space.bottom)?;
        self.used += 1;
        Ok(space)
    }

    /// A slab of twice as many stacks as the latest, or of as many as the system gives.
    fn next_slab(&self) -> io::Result<Slab> {
        let doubled = self.slabs.last().map_or(FIRST_SLAB, |slab| slab.stacks * 2);
        let mut stacks = doubled.min(LARGEST_SLAB / self.stack_size).max(1);
        loop {
            match Slab::map_leaving_room(stacks, self.stack_size) {
                Ok(slab) => return Ok(slab),
                Err(_) if stacks > 1 => stacks /= 2,
                // The first stack is worth the risk: without it nothing runs.
                Err(_) if self.slabs.is_empty() => return Slab::map(1, self.stack_size),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a stack back.
    pub(super) fn give_back(&mut self, space: StackSpace) {
        self.free.push(space);
    }
}

/// Checks that stacks with `usable` bytes can be had.
///
/// # Errors
///
/// `Err(None)` if the size is too small, `Err(Some(_))` if the system does not give that much.
pub(crate) fn check_size(usable: usize) -> Result<(), Option<io::Error>> {
    if usable < SMALLEST_STACK.max(MIN_STACK_SIZE) {
        return Err(None);
    }
    let size = round_up(usable).ok_or_else(|| Some(io::ErrorKind::OutOfMemory.into()))?;
    Slab::map(1, size).map(drop).map_err(Some)
}

/// Bytes per stack for that many usable ones: a guard page more, and rounded up to pages.
fn round_up(usable: usize) -> Option<usize> {
    let page = page_size();
    let size = usable.checked_next_multiple_of(page)?.checked_add(page)?;
    isize::try_from(size).is_ok().then_some(size)
}

pub(super) fn page_size() -> usize {
    static PAGE_SIZE: OnceLock<usize> = OnceLock::new();
    *PAGE_SIZE.get_or_init(|| {
        // SAFETY: asks for a constant of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("every system has a page size")
    })
}

/// One mapping.
#[derive(Debug)]
struct Slab {
    bottom: NonNull<u8>,
    bytes: usize,
    stacks: usize,
    /// Where a signal handler finds it, if its stacks are in use.
    region: Option<&'static Region>,
}

impl Slab {
    /// As [`map`](Self::map), if address space remains for the rest of the program.
    fn map_leaving_room(stacks: usize, stack_size: usize) -> io::Result<Self> {
        let slab = Self::map(stacks, stack_size)?;
        // Given back at once.
        Self::map(1, LEFT_TO_OTHERS)?;
        Ok(slab)
    }

    fn map(stacks: usize, stack_size: usize) -> io::Result<Self> {
        let bytes = stacks.checked_mul(stack_size).ok_or(io::ErrorKind::OutOfMemory)?;
        let bottom = memory::reserve(bytes)?;
        Ok(Self { bottom, bytes, stacks, region: None })
    }

    fn stack(&self, idx: usize, size: usize) -> StackSpace {
        debug_assert!(idx < self.stacks);
        // SAFETY: `idx` is below the number of stacks, so the result lies within the mapping.
        let bottom = unsafe { self.bottom.add(idx * size) };
        StackSpace { bottom, size, colour: colour_of(idx) }
    }
}

/// The colour of the stack at that place of its slab.
fn colour_of(stack: usize) -> usize {
    stack % COLOURS
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.region.inspect(|region| region.leave());
        // SAFETY: the pool is dropped after all fibers on its stacks have been retired.
        unsafe { memory::release(self.bottom, self.bytes) };
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::memory::{light_guards, protect};
    use super::*;

    #[test]
    fn stacks_are_distinct_guarded_and_come_back() {
        let mut pool = StackPool::new(SMALLEST_STACK);
        let spaces: Vec<_> = (0..FIRST_SLAB * 4).map(|_| pool.take(&Roster::default()).unwrap()).collect();
        let mut bottoms: Vec<_> = spaces.iter().map(|space| space.bottom.addr()).collect();
        bottoms.sort_unstable();
        assert!(bottoms.windows(2).all(|pair| pair[1].get() - pair[0].get() >= SMALLEST_STACK + page_size()));
        for space in &spaces {
            let (control, stack) = space.split_top::<[u64; 8]>();
            // SAFETY: the memory is ours and nothing uses it.
            unsafe { control.write([7; 8]) };
            assert!(stack.base().get() <= control.addr().get());
            assert!(stack.base().get() - stack.limit().get() >= SMALLEST_STACK - COLOURS * COLOUR_STEP - 128);
        }
        spaces.iter().for_each(|&space| pool.give_back(space));
        assert_eq!(pool.take(&Roster::default()).unwrap().bottom, spaces.last().unwrap().bottom);
    }

    /// Whether the system can read at an address: it takes it for the name of a file.
    fn is_readable(address: NonNull<u8>) -> bool {
        // SAFETY: the system looks by itself whether it can read there.
        let result = unsafe { libc::access(address.as_ptr().cast(), libc::F_OK) };
        result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT)
    }

    #[test]
    fn guards_of_either_kind_are_out_of_bounds_and_nothing_else_is() {
        let mut kinds: Vec<fn(NonNull<u8>) -> io::Result<()>> = vec![memory::guard, protect];
        if light_guards::are_available() {
            kinds.push(light_guards::install);
        }
        for install in kinds {
            let slab = Slab::map(3, SMALLEST_STACK).unwrap();
            let space = slab.stack(1, SMALLEST_STACK);
            install(space.bottom).unwrap();
            let at = |offset: isize| {
                // SAFETY: the offsets stay within the three stacks.
                is_readable(unsafe { space.bottom.offset(offset) })
            };
            let page = page_size().cast_signed();
            assert!(at(-1) && !at(0) && !at(page - 1) && at(page));
            // SAFETY: nothing uses the stack.
            unsafe { space.decommit() };
            assert!(!at(0) && at(page), "a stack that was given back stays guarded");
        }
    }

    #[test]
    fn the_stack_whose_guard_is_at_an_address_is_found() {
        let mut pool = StackPool::new(SMALLEST_STACK);
        let spaces: Vec<_> = (0..FIRST_SLAB + 2).map(|_| pool.take(&Roster::default()).unwrap()).collect();
        for space in spaces {
            let bottom = space.bottom.addr().get();
            assert_eq!(StackSpace::guarded_at(bottom), Some(space));
            assert_eq!(StackSpace::guarded_at(bottom + page_size() - 1), Some(space));
            assert_eq!(StackSpace::guarded_at(bottom + page_size()), None);
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(check_size(0).unwrap_err().is_none());
        assert!(check_size(SMALLEST_STACK - 1).unwrap_err().is_none());
        assert!(check_size(usize::MAX).unwrap_err().is_some());
        assert!(check_size(usize::MAX / 4).unwrap_err().is_some());
        assert!(check_size(SMALLEST_STACK).is_ok());
    }
}
