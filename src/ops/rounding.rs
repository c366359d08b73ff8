//! Rounding to whole numbers, which has no gradient.

use crate::float_tiles;
use crate::graph::{Check, Grad, Kind, Op};
use crate::ir::MapFn;
use crate::ir::tile::Compute::Float;
use crate::ops::Ops;
use crate::ops::unary::{CALLS, DATA, FLAT, unary};

unary!(
    FLOOR,
    "floor",
    true,
    "Largest whole number not above the element.",
    Float,
    float_tiles!(|x| x.floor::<I>()),
    "floor({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.floor(data)"
);
unary!(
    CEIL,
    "ceil",
    true,
    "Smallest whole number not below the element.",
    Float,
    float_tiles!(|x| x.ceil::<I>()),
    "ceil({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.ceil(data)"
);
unary!(
    TRUNC,
    "trunc",
    true,
    "The whole part: rounds toward zero.",
    Float,
    float_tiles!(|x| x.trunc::<I>()),
    "trunc({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.trunc(data)"
);
unary!(
    FIX,
    "fix",
    true,
    "Rounds toward zero, as `trunc`.",
    Float,
    float_tiles!(|x| x.trunc::<I>()),
    "trunc({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.fix(data)"
);
unary!(
    ROUND,
    "round",
    true,
    "Nearest whole number; halves away from zero.",
    Float,
    float_tiles!(|x| x.round::<I>()),
    "oxg_round({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.sign(data) * np.floor(np.abs(data) + 0.5)"
);
unary!(
    RINT,
    "rint",
    true,
    "Nearest whole number; halves go down, as in MXNet.",
    Float,
    float_tiles!(|x| x.rint_half_down::<I>()),
    "oxg_rint({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.ceil(data - 0.5)"
);

pub static OPS: Ops = &[&FLOOR, &CEIL, &TRUNC, &FIX, &ROUND, &RINT];
