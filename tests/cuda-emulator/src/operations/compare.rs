//! Comparisons into predicates. A name ending in `u` is also true where an operand is a NaN.

#![expect(
    clippy::neg_cmp_op_on_partial_ord,
    clippy::double_comparisons,
    reason = "with a NaN the shorter forms are other comparisons"
)]

super::table! {
    "setp.eq.b16" | "setp.eq.u16" | "setp.eq.s16" => two |a: u16, b: u16| -> bool { a == b }
    "setp.ne.b16" | "setp.ne.u16" | "setp.ne.s16" => two |a: u16, b: u16| -> bool { a != b }
    "setp.lt.u16" | "setp.lo.u16" => two |a: u16, b: u16| -> bool { a < b }
    "setp.lt.s16" => two |a: i16, b: i16| -> bool { a < b }
    "setp.le.u16" | "setp.ls.u16" => two |a: u16, b: u16| -> bool { a <= b }
    "setp.le.s16" => two |a: i16, b: i16| -> bool { a <= b }
    "setp.gt.u16" | "setp.hi.u16" => two |a: u16, b: u16| -> bool { a > b }
    "setp.gt.s16" => two |a: i16, b: i16| -> bool { a > b }
    "setp.ge.u16" | "setp.hs.u16" => two |a: u16, b: u16| -> bool { a >= b }
    "setp.ge.s16" => two |a: i16, b: i16| -> bool { a >= b }
    "setp.eq.b32" | "setp.eq.u32" | "setp.eq.s32" => two |a: u32, b: u32| -> bool { a == b }
    "setp.ne.b32" | "setp.ne.u32" | "setp.ne.s32" => two |a: u32, b: u32| -> bool { a != b }
    "setp.lt.u32" | "setp.lo.u32" => two |a: u32, b: u32| -> bool { a < b }
    "setp.lt.s32" => two |a: i32, b: i32| -> bool { a < b }
    "setp.le.u32" | "setp.ls.u32" => two |a: u32, b: u32| -> bool { a <= b }
    "setp.le.s32" => two |a: i32, b: i32| -> bool { a <= b }
    "setp.gt.u32" | "setp.hi.u32" => two |a: u32, b: u32| -> bool { a > b }
    "setp.gt.s32" => two |a: i32, b: i32| -> bool { a > b }
    "setp.ge.u32" | "setp.hs.u32" => two |a: u32, b: u32| -> bool { a >= b }
    "setp.ge.s32" => two |a: i32, b: i32| -> bool { a >= b }
    "setp.eq.b64" | "setp.eq.u64" | "setp.eq.s64" => two |a: u64, b: u64| -> bool { a == b }
    "setp.ne.b64" | "setp.ne.u64" | "setp.ne.s64" => two |a: u64, b: u64| -> bool { a != b }
    "setp.lt.u64" | "setp.lo.u64" => two |a: u64, b: u64| -> bool { a < b }
    "setp.lt.s64" => two |a: i64, b: i64| -> bool { a < b }
    "setp.le.u64" | "setp.ls.u64" => two |a: u64, b: u64| -> bool { a <= b }
    "setp.le.s64" => two |a: i64, b: i64| -> bool { a <= b }
    "setp.gt.u64" | "setp.hi.u64" => two |a: u64, b: u64| -> bool { a > b }
    "setp.gt.s64" => two |a: i64, b: i64| -> bool { a > b }
    "setp.ge.u64" | "setp.hs.u64" => two |a: u64, b: u64| -> bool { a >= b }
    "setp.ge.s64" => two |a: i64, b: i64| -> bool { a >= b }
    "setp.eq.f32" => two |a: f32, b: f32| -> bool { a == b }
    "setp.equ.f32" => two |a: f32, b: f32| -> bool { !(a < b || a > b) }
    "setp.ne.f32" => two |a: f32, b: f32| -> bool { a < b || a > b }
    "setp.neu.f32" => two |a: f32, b: f32| -> bool { a != b }
    "setp.lt.f32" => two |a: f32, b: f32| -> bool { a < b }
    "setp.ltu.f32" => two |a: f32, b: f32| -> bool { !(a >= b) }
    "setp.le.f32" => two |a: f32, b: f32| -> bool { a <= b }
    "setp.leu.f32" => two |a: f32, b: f32| -> bool { !(a > b) }
    "setp.gt.f32" => two |a: f32, b: f32| -> bool { a > b }
    "setp.gtu.f32" => two |a: f32, b: f32| -> bool { !(a <= b) }
    "setp.ge.f32" => two |a: f32, b: f32| -> bool { a >= b }
    "setp.geu.f32" => two |a: f32, b: f32| -> bool { !(a < b) }
    "setp.num.f32" => two |a: f32, b: f32| -> bool { !(a.is_nan() || b.is_nan()) }
    "setp.nan.f32" => two |a: f32, b: f32| -> bool { a.is_nan() || b.is_nan() }
    "setp.eq.f64" => two |a: f64, b: f64| -> bool { a == b }
    "setp.equ.f64" => two |a: f64, b: f64| -> bool { !(a < b || a > b) }
    "setp.ne.f64" => two |a: f64, b: f64| -> bool { a < b || a > b }
    "setp.neu.f64" => two |a: f64, b: f64| -> bool { a != b }
    "setp.lt.f64" => two |a: f64, b: f64| -> bool { a < b }
    "setp.ltu.f64" => two |a: f64, b: f64| -> bool { !(a >= b) }
    "setp.le.f64" => two |a: f64, b: f64| -> bool { a <= b }
    "setp.leu.f64" => two |a: f64, b: f64| -> bool { !(a > b) }
    "setp.gt.f64" => two |a: f64, b: f64| -> bool { a > b }
    "setp.gtu.f64" => two |a: f64, b: f64| -> bool { !(a <= b) }
    "setp.ge.f64" => two |a: f64, b: f64| -> bool { a >= b }
    "setp.geu.f64" => two |a: f64, b: f64| -> bool { !(a < b) }
    "setp.num.f64" => two |a: f64, b: f64| -> bool { !(a.is_nan() || b.is_nan()) }
    "setp.nan.f64" => two |a: f64, b: f64| -> bool { a.is_nan() || b.is_nan() }
}
