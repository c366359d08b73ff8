//! Arithmetic and comparison of two arrays, or an array and a number. Arrays broadcast.

use crate::base::Error;
use crate::base::layout::show;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ir::MapFn;
use crate::ir::tile::Basic;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::ops::rounding::FLOOR;
use crate::tensor::Tensor;
use crate::{float_tiles, num_tiles, rule};
use smallvec::smallvec;

const LR: &[&str] = &["lhs", "rhs"];
const CALLS: &[(&[&[usize]], &str)] =
    &[(&[&[2, 3], &[2, 3]], ""), (&[&[2, 3], &[3]], ""), (&[&[2, 1], &[1, 3]], ""), (&[&[1], &[1]], "")];

macro_rules! basic {
    () => {
        None
    };
    ($basic:ident) => {
        Some(Basic::$basic)
    };
}

/// A record of two inputs; every field is given.
macro_rules! binary {
    ($id:ident, $name:literal, $aliases:expr, $doc:literal, $compute:ident, $tiles:expr, $wgsl:literal,
     $grad:expr, $range:expr, $like:literal $(, $basic:ident)?) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: $aliases,
            doc: $doc,
            inputs: LR,
            params: &[],
            method: false,
            writes: &[],
            kind: Kind::Map(MapFn {
                name: $name,
                compute: $compute,
                tile: $tiles,
                wgsl: $wgsl,
                basic: basic!($($basic)?),
            }),
            grad: $grad,
            check: Check { range: $range, like: $like, calls: CALLS },
        };
    };
}

// ---- arithmetic ----------------------------------------------------------------------------------------------

binary!(
    ADD,
    "broadcast_add",
    &["broadcast_plus", "add"],
    "Sum of two arrays, element by element, with broadcasting.",
    Native,
    num_tiles!(|x, y| x.add(y)),
    "{0} + {1}",
    rule!(Linear | c, g | [g.clone(), g.clone()]),
    Ok((-2.0, 2.0)),
    "lambda lhs, rhs: lhs + rhs",
    Add
);

binary!(
    SUB,
    "broadcast_sub",
    &["broadcast_minus", "subtract"],
    "Difference of two arrays, element by element, with broadcasting.",
    Native,
    num_tiles!(|x, y| x.sub(y)),
    "{0} - {1}",
    rule!(Linear | c, g | [g.clone(), -g]),
    Ok((-2.0, 2.0)),
    "lambda lhs, rhs: lhs - rhs",
    Sub
);

binary!(
    MUL,
    "broadcast_mul",
    &["multiply"],
    "Product of two arrays, element by element, with broadcasting.",
    Native,
    num_tiles!(|x, y| x.mul(y)),
    "{0} * {1}",
    rule!(FromInputs | c, g | [g * c.input(1), g * c.input(0)]),
    Ok((-2.0, 2.0)),
    "lambda lhs, rhs: lhs * rhs",
    Mul
);

binary!(
    DIV,
    "broadcast_div",
    &["divide", "true_divide"],
    "Quotient of two arrays, element by element, with broadcasting. Integers truncate toward zero; an integer divided by \
     zero is zero.",
    Native,
    num_tiles!(|x, y| x.div(y)),
    "oxg_div({0}, {1})",
    rule!(FromInputs | c, g | [g / c.input(1), -(&(g * c.input(0)) / &(c.input(1) * c.input(1)))]),
    Ok((0.5, 2.0)),
    "lambda lhs, rhs: lhs / rhs",
    Div
);

binary!(
    MOD,
    "broadcast_mod",
    &["modulo", "_mod"],
    "Remainder with the sign of the divisor, as Python's `%`; zero where the divisor is zero (MXNet's rule).",
    Native,
    num_tiles!(|x, y| x.rem(y)),
    "oxg_mod({0}, {1})",
    rule!(FromInputs | c, g | [g.clone(), -(g * &(c.input(0) / c.input(1)).unary(&FLOOR))]),
    Err("jumps where the quotient is whole"),
    "lambda lhs, rhs: np.where(rhs == 0, 0, np.mod(lhs, rhs))"
);

binary!(
    POW,
    "broadcast_power",
    &["power", "_power", "pow"],
    "First array to the power of the second, element by element, with broadcasting.",
    Float,
    crate::cpu::cases::pow_tile,
    "oxg_pow({0}, {1})",
    rule!(
        FromBoth | c,
        g | [g * &(c.input(1) * &one_less(c.input(0), c.input(1))), g * &(c.output(0) * &c.input(0).log())]
    ),
    Ok((0.5, 2.0)),
    "lambda lhs, rhs: np.power(lhs, rhs)",
    Power
);

binary!(
    HYPOT,
    "broadcast_hypot",
    &["hypot", "_hypot"],
    "Length of the hypotenuse, `sqrt(lhs**2 + rhs**2)`, element by element, with broadcasting.",
    Float,
    float_tiles!(|x, y| x.hypot::<I>(y)),
    "oxg_hypot({0}, {1})",
    rule!(FromBoth | c, g | [&(g * c.input(0)) / c.output(0), &(g * c.input(1)) / c.output(0)]),
    Ok((0.5, 2.0)),
    "lambda lhs, rhs: np.hypot(lhs, rhs)"
);

/// `x` to the power of `y - 1`: itself where `y` is the number two.
fn one_less(x: &Var, y: &Var) -> Var {
    match y.tensor {
        Tensor::Scalar(two) if two.to_f64() == 2.0 => x.clone(),
        _ => x.binary(&POW, &(y - 1.0)),
    }
}

/// Against a number, a tie gives its gradient to the array.
fn is_number(v: &Var) -> bool {
    matches!(v.tensor, Tensor::Scalar(_))
}

// Ties give the whole gradient to the left operand, and nan gives none, as in MXNet.
binary!(
    MAXIMUM,
    "broadcast_maximum",
    &["maximum", "_maximum"],
    "The larger of two elements, with broadcasting; nan where either is nan.",
    Native,
    num_tiles!(|x, y| x.max(y)),
    "oxg_max({0}, {1})",
    rule!(
        FromInputs | c,
        g | [
            g * &c.input(0).binary(&GREATER_EQUAL, c.input(1)),
            g * &c.input(0).binary(if is_number(c.input(0)) { &LESSER_EQUAL } else { &LESSER }, c.input(1))
        ]
    ),
    Ok((-2.0, 2.0)),
    "lambda lhs, rhs: np.maximum(lhs, rhs)"
);

binary!(
    MINIMUM,
    "broadcast_minimum",
    &["minimum", "_minimum"],
    "The smaller of two elements, with broadcasting; nan where either is nan.",
    Native,
    num_tiles!(|x, y| x.min(y)),
    "oxg_min({0}, {1})",
    rule!(
        FromInputs | c,
        g | [
            g * &c.input(0).binary(&LESSER_EQUAL, c.input(1)),
            g * &c.input(0).binary(if is_number(c.input(0)) { &GREATER_EQUAL } else { &GREATER }, c.input(1))
        ]
    ),
    Ok((-2.0, 2.0)),
    "lambda lhs, rhs: np.minimum(lhs, rhs)"
);

// ---- comparison: one or zero in the dtype of the operands -------------------------------------------------------
//
// Drivers take `!=` in WGSL for false where an operand is nan: the texts say `!(a == b)`.

macro_rules! compare {
    ($id:ident, $name:literal, $aliases:expr, $doc:literal, $tiles:expr, $wgsl:literal, $like:literal) => {
        binary!(
            $id,
            $name,
            $aliases,
            $doc,
            Native,
            $tiles,
            $wgsl,
            Grad::Zero,
            Err("constant almost everywhere"),
            $like
        );
    };
}

compare!(
    EQUAL,
    "broadcast_equal",
    &["equal", "_equal"],
    "One where two elements are equal, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x == y)),
    "oxg_bool({0} == {1})",
    "lambda lhs, rhs: lhs == rhs"
);
compare!(
    NOT_EQUAL,
    "broadcast_not_equal",
    &["not_equal", "_not_equal"],
    "One where two elements differ, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x != y)),
    "oxg_bool(!({0} == {1}))",
    "lambda lhs, rhs: lhs != rhs"
);
compare!(
    GREATER,
    "broadcast_greater",
    &["greater", "_greater"],
    "One where the first element is greater, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x > y)),
    "oxg_bool({0} > {1})",
    "lambda lhs, rhs: lhs > rhs"
);
compare!(
    GREATER_EQUAL,
    "broadcast_greater_equal",
    &["greater_equal", "_greater_equal"],
    "One where the first element is greater or equal, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x >= y)),
    "oxg_bool({0} >= {1})",
    "lambda lhs, rhs: lhs >= rhs"
);
compare!(
    LESSER,
    "broadcast_lesser",
    &["lesser", "_lesser"],
    "One where the first element is smaller, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x < y)),
    "oxg_bool({0} < {1})",
    "lambda lhs, rhs: lhs < rhs"
);
compare!(
    LESSER_EQUAL,
    "broadcast_lesser_equal",
    &["lesser_equal", "_lesser_equal"],
    "One where the first element is smaller or equal, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x <= y)),
    "oxg_bool({0} <= {1})",
    "lambda lhs, rhs: lhs <= rhs"
);

// ---- logic ------------------------------------------------------------------------------------------------------

compare!(
    LOGICAL_AND,
    "broadcast_logical_and",
    &["logical_and", "_logical_and"],
    "One where both elements are non-zero, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x.nonzero() & y.nonzero())),
    "oxg_bool(!({0} == 0) && !({1} == 0))",
    "lambda lhs, rhs: np.logical_and(lhs, rhs)"
);
compare!(
    LOGICAL_OR,
    "broadcast_logical_or",
    &["logical_or", "_logical_or"],
    "One where either element is non-zero, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x.nonzero() | y.nonzero())),
    "oxg_bool(!({0} == 0) || !({1} == 0))",
    "lambda lhs, rhs: np.logical_or(lhs, rhs)"
);
compare!(
    LOGICAL_XOR,
    "broadcast_logical_xor",
    &["logical_xor", "_logical_xor"],
    "One where exactly one element is non-zero, else zero, in the dtype of the operands.",
    num_tiles!(|x, y| T::truth(x.nonzero() ^ y.nonzero())),
    "oxg_bool(({0} == 0) != ({1} == 0))",
    "lambda lhs, rhs: np.logical_xor(lhs, rhs)"
);

// ---- without broadcasting ------------------------------------------------------------------------------------

macro_rules! elemwise {
    ($($id:ident $name:literal $aliases:expr, $whole:ident, $doc:literal, $range:expr, $like:literal;)+) => {
        $(pub static $id: Op = Op {
            name: $name,
            aliases: $aliases,
            doc: $doc,
            inputs: LR,
            params: &[],
            method: false,
            writes: &[],
            kind: Kind::Compose(|v, _| {
                if v[0].shape() != v[1].shape() {
                    let (a, b) = (show(v[0].shape()), show(v[1].shape()));
                    Error::op(format_args!("{}: arrays of one shape expected, got {a} and {b}", $name)).throw();
                }
                smallvec![v[0].binary(&$whole, &v[1])]
            }),
            grad: Grad::Composed,
            check: Check { range: $range, like: $like, calls: &[(&[&[2, 3], &[2, 3]], "")] },
        };)+
    };
}
elemwise! {
    ELEMWISE_ADD "elemwise_add" &["_plus", "_add"], ADD, "Sum of two arrays of one shape, element by element.", Ok((-2.0, 2.0)), "lambda lhs, rhs: lhs + rhs";
    ELEMWISE_SUB "elemwise_sub" &["_minus", "_sub"], SUB, "Difference of two arrays of one shape, element by element.", Ok((-2.0, 2.0)), "lambda lhs, rhs: lhs - rhs";
    ELEMWISE_MUL "elemwise_mul" &["_mul"], MUL, "Product of two arrays of one shape, element by element.", Ok((-2.0, 2.0)), "lambda lhs, rhs: lhs * rhs";
    ELEMWISE_DIV "elemwise_div" &["_div"], DIV, "Quotient of two arrays of one shape, element by element.", Ok((0.5, 2.0)), "lambda lhs, rhs: lhs / rhs";
}

pub static OPS: Ops = &[
    &ELEMWISE_ADD,
    &ELEMWISE_SUB,
    &ELEMWISE_MUL,
    &ELEMWISE_DIV,
    &ADD,
    &SUB,
    &MUL,
    &DIV,
    &MOD,
    &POW,
    &HYPOT,
    &MAXIMUM,
    &MINIMUM,
    &EQUAL,
    &NOT_EQUAL,
    &GREATER,
    &GREATER_EQUAL,
    &LESSER,
    &LESSER_EQUAL,
    &LOGICAL_AND,
    &LOGICAL_OR,
    &LOGICAL_XOR,
];
