//! Loops that must lie unrolled, since their sums are to stay in registers.

/// Repeats a statement for each number j below `$n`, at most 8, unrolled.
macro_rules! unrolled {
    ($n:ident, $j:ident => $body:expr) => {
        unrolled!(@ $n, $j => $body, 0 1 2 3 4 5 6 7)
    };
    (@ $n:ident, $j:ident => $body:expr, $($number:literal)*) => {{
        $(if $number < $n { const $j: usize = $number; $body; })*
    }};
}

pub(super) use unrolled;
