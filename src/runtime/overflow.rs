#![expect(unsafe_code, reason = "signals are handled by functions of the C library")]
//! Tells which task overflowed its stack.
//!
//! The lowest page of each stack is a guard, so an overflow is a fault at an address in such a page. The handler of
//! `SIGSEGV` and `SIGBUS` finds the stack, and by it the fiber, from the address alone, writes a line to standard error
//! and aborts, as the standard library does for the stacks of threads. It leaves every other fault to the handler that
//! was there before, which is the standard library's or the program's. If there was none, it puts the default action
//! back, and the fault happens again and ends the process.
//!
//! The stack that overflowed has no room for the handler, so it runs on the thread's alternate one. The standard library
//! gives its threads one, unless its runtime was not started, as in a library that a foreign program has loaded.
//!
//! All that the handler does is safe in a handler: it allocates nothing, takes no lock, and calls nothing of the C library
//! but `write`, `abort`, `sigaction` and `raise`; formatting is the core library's, which needs neither.

use super::fiber::FiberRef;
use super::stack::StackSpace;
use crate::current;
use crate::record::Record;
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::{Once, OnceLock};

/// The signals that a touch of a guard raises: the second on Apple's systems.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What was done about the signals before.
static FORMER: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

/// Steps of a path that are written at most, the innermost.
const LONGEST_PATH: usize = 32;

/// Bytes of an alternate stack, where this module provides it.
const ALTERNATE_STACK: usize = 64 * 1024;

/// Lets overflows of fibers be told. Does something at the first call in the process only.
pub(super) fn install() {
    if cfg!(miri) {
        // It knows neither signals nor guards.
        return;
    }
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        for (signal, former) in SIGNALS.into_iter().zip(&FORMER) {
            // Noted before the handler can run.
            if let Some(action) = action_of(signal)
                && former.set(action).is_ok()
            {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
                set_action(signal, handler as libc::sighandler_t, libc::SA_SIGINFO | libc::SA_ONSTACK);
            }
        }
    });
}

fn action_of(signal: c_int) -> Option<libc::sigaction> {
    let mut action = mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, this only writes the one that is there.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid value of the structure, which is made of numbers and optional functions.
    (result == 0).then(|| unsafe { action.assume_init() })
}

fn set_action(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
    // SAFETY: zeros are a valid value of the structure, which is made of numbers and optional functions.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler is one that fits the flags, or the default. A refusal leaves the action as it was.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// The handler.
extern "C" fn on_fault(signal: c_int, fault: *mut libc::siginfo_t, context: *mut c_void) {
    if let Some(fiber) = overflowed_fiber(fault) {
        report(fiber);
        // SAFETY: always is.
        unsafe { libc::abort() };
    }
    pass_on(signal, fault, context);
}

/// Whether a signal was sent by a process, and not raised by a fault.
fn is_sent(fault: *const libc::siginfo_t) -> bool {
    // SAFETY: the system passes a description of the signal.
    let code = unsafe { (*fault).si_code };
    code <= 0
}

/// The fiber that runs on this thread, if the fault is a touch of its guard.
fn overflowed_fiber(fault: *const libc::siginfo_t) -> Option<FiberRef> {
    if is_sent(fault) {
        return None;
    }
    // SAFETY: the system passes a description of the signal.
    let fault = unsafe { &*fault };
    // SAFETY: the signals that are handled have an address.
    let address = unsafe { fault.si_addr() };
    let space = StackSpace::guarded_at(address.addr())?;
    // Only now, when this can hardly be a thread that has nothing to do with the crate: the first look at a thread-local of
    // a loaded library may allocate.
    let running = current::worker()?.running()?;
    (running.space() == space).then_some(running)
}

/// Writes a line about the overflow to standard error.
fn report(fiber: FiberRef) {
    // There is nobody to tell if it cannot be written.
    let _ = write_report(fiber, &mut StandardError);
}

fn write_report(fiber: FiberRef, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_char('\n')?;
    write_path(current::record().unwrap_or_else(|| fiber.record()), out)?;
    let kibibytes = fiber.stack_size() / 1024;
    writeln!(out, " overflowed its stack of {kibibytes} KiB (FiberExecutor::builder().stack_size(..))")
}

/// Standard error without a lock or a buffer.
struct StandardError;

impl fmt::Write for StandardError {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the bytes are there to be read.
        let written = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        if written < 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes the path of a task as a [`TaskPath`](crate::TaskPath) is displayed, which cannot be made here: it allocates.
fn write_path(record: &Record, out: &mut impl fmt::Write) -> fmt::Result {
    let depth = record.visit(|_| {});
    if depth == 0 {
        return out.write_str("a task");
    }
    out.write_str("task ")?;
    let written = depth.min(LONGEST_PATH);
    if written < depth {
        out.write_str(".. > ")?;
    }
    // Outermost first, by going up from the task again for each step.
    for wanted in (0..written).rev() {
        let (mut height, mut step) = (0, None);
        record.visit(|seen| {
            if height == wanted {
                step = Some(seen);
            }
            height += 1;
        });
        if let Some(step) = step {
            write!(out, "{step}")?;
        }
        if wanted > 0 {
            out.write_str(" > ")?;
        }
    }
    Ok(())
}

/// Leaves the signal to whoever handled it before.
fn pass_on(signal: c_int, fault: *mut libc::siginfo_t, context: *mut c_void) {
    let position = SIGNALS.iter().position(|&handled| handled == signal);
    let former = position.and_then(|position| FORMER[position].get());
    match former.map_or(libc::SIG_DFL, |former| former.sa_sigaction) {
        libc::SIG_IGN if is_sent(fault) => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            set_action(signal, libc::SIG_DFL, 0);
            if is_sent(fault) {
                // It does not happen again by itself.
                // SAFETY: always is.
                unsafe { libc::raise(signal) };
            }
        }
        handler if former.is_some_and(|former| former.sa_flags & libc::SA_SIGINFO != 0) => {
            // SAFETY: the flag says that the handler is such a function.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = unsafe { mem::transmute(handler) };
            handler(signal, fault, context);
        }
        handler => {
            // SAFETY: without the flag, the handler is such a function.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// An alternate stack for the calling thread, if it had none. Dropped by the same thread.
#[derive(Debug)]
pub(super) struct AlternateStack(Option<*mut c_void>);

impl AlternateStack {
    /// Provides the calling thread with an alternate stack, unless it has one. Without memory for it, an overflow ends the
    /// process all the same, but says nothing.
    pub(super) fn ensure() -> Self {
        if cfg!(miri) {
            return Self(None);
        }
        let mut present = mem::MaybeUninit::<libc::stack_t>::zeroed();
        // SAFETY: without a new stack, this only writes which one there is.
        let result = unsafe { libc::sigaltstack(ptr::null(), present.as_mut_ptr()) };
        // SAFETY: zeros are a valid value of the structure, which is made of numbers and a pointer.
        let present = unsafe { present.assume_init() };
        if result != 0 || present.ss_flags & libc::SS_DISABLE == 0 {
            return Self(None);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping at an address that the system chooses.
        let memory =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), ALTERNATE_STACK, protection, MapFlags::PRIVATE) };
        let memory = memory.ok();
        if let Some(memory) = memory {
            set_alternate_stack(memory, 0);
        }
        Self(memory)
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if let Some(memory) = self.0 {
            set_alternate_stack(ptr::null_mut(), libc::SS_DISABLE);
            // SAFETY: the mapping is this object's, and the thread does not use it from here on.
            let _ = unsafe { rustix::mm::munmap(memory, ALTERNATE_STACK) };
        }
    }
}

fn set_alternate_stack(memory: *mut c_void, flags: c_int) {
    let stack = libc::stack_t { ss_sp: memory, ss_flags: flags, ss_size: ALTERNATE_STACK };
    // SAFETY: the memory stays until another stack is set, or none.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_the_standard_library_keep_their_alternate_stack() {
        let own = std::thread::spawn(|| AlternateStack::ensure().0.is_some()).join().unwrap();
        assert!(!own);
    }

    #[test]
    fn a_thread_without_an_alternate_stack_gets_one_and_loses_it_again() {
        let test = || {
            set_alternate_stack(ptr::null_mut(), libc::SS_DISABLE);
            let first = AlternateStack::ensure();
            assert!(first.0.is_some() && AlternateStack::ensure().0.is_none());
            drop(first);
            assert!(AlternateStack::ensure().0.is_some());
        };
        std::thread::spawn(test).join().unwrap();
    }
}
