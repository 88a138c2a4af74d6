//! What is left of spans without the feature: nothing.

use crate::record::Origin;

/// See the twin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown;

impl Shown {
    pub(crate) const PLAINLY: Self = Self;
    pub(crate) const NEVER: Self = Self;

    pub(crate) const fn by_name(_name: Option<&'static str>) -> Self {
        Self
    }
}

/// See the twin.
#[derive(Debug)]
pub(crate) struct MapSpan;

impl MapSpan {
    #[inline(always)]
    pub(crate) fn begin(_origin: &Origin, _len: Option<usize>) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn task(&self, _origin: &Origin, _idx: usize) -> Nothing {
        Nothing
    }
}

/// See the twin.
#[derive(Debug)]
pub(crate) struct DetachedSpan;

impl DetachedSpan {
    #[inline(always)]
    pub(crate) fn new(_origin: &Origin, _idx: usize) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn discard(self) {}

    #[inline(always)]
    pub(crate) fn enter(self) -> Nothing {
        Nothing
    }
}

/// See the twin.
#[derive(Debug)]
pub(crate) struct Carried;

impl Carried {
    #[inline(always)]
    pub(crate) fn here() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn enter(self) -> Nothing {
        Nothing
    }
}

/// See the twin.
#[derive(Debug)]
pub(crate) struct Spans;

impl Spans {
    pub(crate) const fn new() -> Self {
        Self
    }
}

/// What would take something back when dropped.
#[derive(Debug)]
#[must_use = "the twin ends with it"]
pub(crate) struct Nothing;

/// See the twin.
#[inline(always)]
pub(crate) fn leave(_spans: &Spans) {}

/// See the twin.
#[inline(always)]
pub(crate) fn come_back(_spans: &Spans) {}
