//! Functions that need much of a stack.

use std::hint;

/// Calls itself until it has used so many bytes of stack, and returns the number of calls.
#[inline(never)]
fn use_stack(bytes: usize, top: usize) -> usize {
    let frame = hint::black_box([1_u8; 512]);
    let used = top - (&raw const frame).addr();
    let below = if used < bytes { use_stack(bytes, top) } else { 0 };
    below + usize::from(hint::black_box(&frame)[7])
}

/// As much from here on.
pub(crate) fn use_stack_from_here(bytes: usize) -> usize {
    let here = 0_u8;
    use_stack(bytes, (&raw const here).addr())
}
