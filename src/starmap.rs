//! Calling a function of several parameters with a tuple.

/// Functions of one to eight parameters, called with a tuple of that many elements.
///
/// Implemented for every such `Fn`; there is nothing to implement by hand.
pub trait Spread<A, R> {
    /// Calls the function with the elements of `args`.
    fn call(&self, args: A) -> R;
}

macro_rules! spread {
    ($($element:ident)+) => {
        impl<Function, R, $($element),+> Spread<($($element,)+), R> for Function
        where
            Function: Fn($($element),+) -> R,
        {
            #[inline]
            #[expect(non_snake_case, reason = "the elements are named like their types")]
            fn call(&self, ($($element,)+): ($($element,)+)) -> R {
                self($($element),+)
            }
        }
    };
}

spread!(A);
spread!(A B);
spread!(A B C);
spread!(A B C D);
spread!(A B C D E);
spread!(A B C D E F);
spread!(A B C D E F G);
spread!(A B C D E F G H);
