//! Panics that tests expect: how to raise, catch and read them, and how to keep them off the terminal.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

pub(crate) type Payload = Box<dyn Any + Send>;

/// The payload of an expected panic: typed, so that a test sees whether the very payload arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expected(pub(crate) usize);

/// Panics with the payload [`Expected`].
pub(crate) fn expected(number: usize) -> ! {
    panic::panic_any(Expected(number))
}

/// The panic of `f`, or its result.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// The number of the expected panic of `f`.
#[track_caller]
pub(crate) fn expected_panic<R>(f: impl FnOnce() -> R) -> usize {
    let Err(payload) = caught(f) else {
        panic!("there was no panic");
    };
    number_of(payload)
}

/// The number in the payload of an expected panic; raises any other again.
#[track_caller]
pub(crate) fn number_of(payload: Payload) -> usize {
    match payload.downcast::<Expected>() {
        Ok(expected) => expected.0,
        Err(other) => panic!("not the expected payload, but one that says {:?}", message_of(&*other)),
    }
}

/// What a panic says.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

/// Whether an expected panic carries that payload: it says so itself, or is one of the messages under test.
fn is_expected(payload: &(dyn Any + Send)) -> bool {
    let message = message_of(payload);
    payload.is::<Expected>() || ["expected", "shut down"].iter().any(|part| message.contains(part))
}

/// Keeps the messages of expected panics off the terminal.
pub(crate) fn silence_expected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_expected(info.payload()) {
                loud(info);
            }
        }));
    });
}
