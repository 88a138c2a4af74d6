//! Spans of `tracing`: one for each map and one for each task. With the feature `spans` only; without it, everything here is
//! of size zero and does nothing.
//!
//! # What is entered when
//!
//! The span of a map is a child of the caller's current span. The caller is in it during the call. The span of a task is a child
//! of that of its map, whichever thread runs the task, and is entered for as long as the task runs there.
//!
//! A fiber runs from one switch to the next. At each switch away from it, [`leave`] exits the spans that it is in,
//! innermost first, and [`come_back`] enters them again, outermost first, when it is resumed. So every fiber begins with no span
//! entered on the thread and sees only what it entered itself. Which spans it is in, the subscriber knows: those that the user's
//! code has entered are among them. From a subscriber that does not say what is current, only the spans of this crate are
//! known, which each fiber keeps a list of ([`Spans`]).
//!
//! A parent that resumes its child directly is in none of its spans meanwhile, and may suspend after that without having
//! been back in between. So a fiber notes that it is away, and leaves once.
//!
//! # What calls the subscriber when
//!
//! A subscriber is code of the program: it may panic, and it may come back to this crate. Spans are made, entered and closed
//! where code of the user runs anyway: in the call that makes a batch, before the batch is shared or after it has ended, and
//! in the task, whose panics are caught. At a switch neither can be borne, since the batch is outstanding. There
//! panics are caught and dropped, and the subscriber finds itself outside any task.

#[cfg(not(feature = "spans"))]
mod inert;
#[cfg(feature = "spans")]
mod live;

#[cfg(not(feature = "spans"))]
pub(crate) use inert::{Carried, DetachedSpan, MapSpan, Shown, Spans, come_back, leave};
#[cfg(feature = "spans")]
pub(crate) use live::{Carried, DetachedSpan, MapSpan, Shown, Spans, come_back, leave};
