//! Loops that must be unrolled so that their sums stay in registers.

/// Repeats a statement for j = 0 … `$n` − 1, unrolled; `$n` is at most 8.
macro_rules! unrolled {
    ($n:ident, $j:ident => $body:expr) => {
        unrolled!(@ $n, $j => $body, 0 1 2 3 4 5 6 7)
    };
    (@ $n:ident, $j:ident => $body:expr, $($number:literal)*) => {{
        const { assert!($n <= 8) };
        $(if $number < $n { const $j: usize = $number; $body; })*
    }};
}

pub(super) use unrolled;
