// Element functions of float32 that keep their last digits: the builtins of WGSL are off by up to 13 % near zeros.
// Made of + - * / and bit patterns only. The printer copies the functions that a shader uses, and those they call.
// No value is ever taken from a literal times an operand where nan or an infinity would be lost: see docs/gpu.md.

fn oxg_inf() -> f32 {
    return bitcast<f32>(0x7f800000u);
}

fn oxg_nan() -> f32 {
    return bitcast<f32>(0x7fc00000u);
}

// By bits: x != x is always false in some drivers.
fn oxg_isnan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn oxg_isnan_i(x: i32) -> bool {
    return false;
}

fn oxg_copysign(x: f32, s: f32) -> f32 {
    let a = abs(x);
    return select(a, -a, (bitcast<u32>(s) & 0x80000000u) != 0u);
}

fn oxg_bool(b: bool) -> f32 {
    return select(0.0, 1.0, b);
}

fn oxg_bool_i(b: bool) -> i32 {
    return select(0, 1, b);
}

// ---- exponentials: x = n ln 2 + r, a polynomial for e^r, 2^n through the exponent bits ----

fn oxg_scale(y: f32, n: i32) -> f32 {
    let half = n >> 1u;
    let rest = n - half;
    return y * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(rest + 127) << 23u);
}

// e^r - 1 - r for |r| <= ln 2 / 2.
fn oxg_small(r: f32) -> f32 {
    let p = 0.5 + r * (0.16666542 + r * (0.041666277 + r * (0.008366762 + r * 0.0013946769)));
    return r * r * p;
}

fn oxg_exp(x: f32) -> f32 {
    let y = clamp(x, -104.0, 89.0);
    let n = round(y * 1.4426950408889634);
    let hi = y - n * 0.69314575;
    let lo = n * 1.4286068e-6;
    let r = hi - lo;
    let lost = (hi - r) - lo;
    let e = oxg_scale(1.0 + (r + (oxg_small(r) + lost)), i32(n));
    return select(e, x, oxg_isnan(x));
}

// 2^n (1 + r + w) - 1 as 2 ((s - 1/2 + s r) + s w) with s = 2^(n-1), which cannot overflow.
fn oxg_expm1(x: f32) -> f32 {
    let y = clamp(x, -18.0, 89.0);
    let n = round(y * 1.4426950408889634);
    let hi = y - n * 0.69314575;
    let lo = n * 1.4286068e-6;
    let r = hi - lo;
    let w = oxg_small(r) + ((hi - r) - lo);
    let s = bitcast<f32>(u32(i32(n) - 1 + 127) << 23u);
    let e = 2.0 * (((s - 0.5) + s * r) + s * w);
    return select(e, x, abs(x) < 2.0e-8 || oxg_isnan(x));
}

fn oxg_sigmoid(x: f32) -> f32 {
    let e = oxg_exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn oxg_tanh(x: f32) -> f32 {
    let a = abs(x);
    let z = a * a;
    let p = -0.3333328 + z * (0.13331388 + z * (-0.05373426 + z * (0.020618778 + z * -0.0056798756)));
    let near = a + a * z * p;
    let b = min(a, 10.0);
    let far = 1.0 - 2.0 / (oxg_exp(b + b) + 1.0);
    let y = oxg_copysign(select(far, near, a < 0.625), x);
    return select(y, x, oxg_isnan(x));
}

fn oxg_sinh(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    let near = a + a * z * (0.16666717 + z * (0.0083302836 + z * 0.00020372191));
    let e = oxg_exp(min(a, 88.0));
    let mid = 0.5 * e - 0.5 / e;
    // Past 88 the exponential overflows before its half does.
    let h = oxg_exp(0.5 * a);
    let far = 0.5 * h * h;
    let y = oxg_copysign(select(select(mid, far, a > 88.0), near, a < 1.0), x);
    return select(y, x, oxg_isnan(x));
}

fn oxg_cosh(x: f32) -> f32 {
    let a = abs(x);
    let e = oxg_exp(min(a, 88.0));
    let h = oxg_exp(0.5 * a);
    let y = select(0.5 * e + 0.5 / e, 0.5 * h * h, a > 88.0);
    return select(y, x, oxg_isnan(x));
}

// ---- logarithms: x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2) ----

struct OxgSplit { k: f32, f: f32 }

fn oxg_split(x: f32) -> OxgSplit {
    let tiny = x < 1.17549435e-38;
    let bits = bitcast<i32>(select(x, x * 8388608.0, tiny));
    let e = (bits - 0x3f3504f3) >> 23u;
    let m = bitcast<f32>(bits - (e << 23u));
    return OxgSplit(f32(e) - select(0.0, 23.0, tiny), m - 1.0);
}

// log(1 + f) - f + f^2 / 2
fn oxg_log_rest(f: f32) -> f32 {
    let p = 0.33333316 + f * (-0.25000814 + f * (0.20002303 + f * (-0.16624391 + f * (0.14180715
        + f * (-0.13130096 + f * (0.1288566 + f * -0.07860604))))));
    return f * f * f * p;
}

// What the polynomial cannot give: nan below the edge, -inf there, inf and nan as they came.
fn oxg_log_ends(y: f32, x: f32, edge: f32) -> f32 {
    let a = select(x, y, x < oxg_inf());
    let b = select(a, -oxg_inf(), x == edge);
    return select(b, oxg_nan(), x < edge || oxg_isnan(x));
}

fn oxg_log(x: f32) -> f32 {
    let s = oxg_split(x);
    let low = (s.k * 1.4286068e-6 + oxg_log_rest(s.f)) - 0.5 * s.f * s.f;
    return oxg_log_ends(s.k * 0.69314575 + (s.f + low), x, 0.0);
}

fn oxg_log2(x: f32) -> f32 {
    let s = oxg_split(x);
    let low = oxg_log_rest(s.f) - 0.5 * s.f * s.f;
    // log2(e) is 1 + 0.4427: the whole part costs no rounding.
    let y = s.k + (s.f + (low + 0.44269504 * (s.f + low)));
    return oxg_log_ends(y, x, 0.0);
}

fn oxg_log10(x: f32) -> f32 {
    let s = oxg_split(x);
    let low = oxg_log_rest(s.f) - 0.5 * s.f * s.f;
    let y = s.k * 0.30102539 + (s.k * 4.605039e-6 + 0.4342944819 * (s.f + low));
    return oxg_log_ends(y, x, 0.0);
}

// Where 1 + x would lose what matters, the polynomial takes x itself. What the sum loses elsewhere cannot be had back:
// drivers take (1 + x) - 1 for x.
fn oxg_log1p(x: f32) -> f32 {
    let near = x > -0.2928 && x < 0.4142;
    let s = oxg_split(select(1.0 + x, 1.0, near));
    let f = select(s.f, x, near);
    let low = (s.k * 1.4286068e-6 + oxg_log_rest(f)) - 0.5 * f * f;
    let y = oxg_log_ends(s.k * 0.69314575 + (f + low), x, -1.0);
    return select(y, x, abs(x) < 2.0e-8);
}

fn oxg_softrelu(x: f32) -> f32 {
    let y = max(x, 0.0) + oxg_log1p(oxg_exp(-abs(x)));
    return select(y, x, oxg_isnan(x));
}

fn oxg_asinh(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    let near = a + a * z * (-0.16666289 + z * (0.074847586 + z * (-0.04269934 + z * 0.020122003)));
    let b = min(a, 1.0e9);
    let mid = oxg_log1p(b + b * b / (1.0 + sqrt(1.0 + b * b)));
    let far = oxg_log(a) + 0.6931472;
    return oxg_copysign(select(select(mid, far, !(a < 1.0e9)), near, a < 0.5), x);
}

fn oxg_acosh(x: f32) -> f32 {
    let t = min(x, 1.0e9) - 1.0;
    let y = select(oxg_log1p(t + sqrt(max(t * (t + 2.0), 0.0))), oxg_log(x) + 0.6931472, x > 1.0e9);
    return select(y, oxg_nan(), !(x >= 1.0));
}

fn oxg_atanh(x: f32) -> f32 {
    let a = abs(x);
    let y = 0.5 * oxg_log1p(2.0 * a / (1.0 - a));
    let z = select(select(y, oxg_inf(), a == 1.0), oxg_nan(), !(a <= 1.0));
    return oxg_copysign(z, x);
}

// ---- powers ----

// The product as two numbers; the halves are cut by bits, so that their products are exact.
fn oxg_two_product(a: f32, b: f32) -> vec2<f32> {
    let ah = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
    let bh = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let al = a - ah;
    let bl = b - bh;
    let p = a * b;
    return vec2<f32>(p, ((ah * bh - p) + ah * bl + al * bh) + al * bl);
}

// log2(1 + f) as two numbers: 2 atanh(f / (2 + f)) with the quotient in two parts.
fn oxg_log2_two(f: f32) -> vec2<f32> {
    let m = 1.0 + f;
    // 1 + m in two parts; cut by bits, since drivers take (1 + m) - 1 for m.
    let high = bitcast<f32>(bitcast<u32>(m) & 0xfffffff0u);
    let d = 1.0 + high;
    let d_low = m - high;
    let s = f / (d + d_low);
    let back = oxg_two_product(s, d);
    let s_low = ((f - back.x) - back.y - s * d_low) / d;
    let z = s * s;
    let t = s_low + s * z * (0.33333334 + z * (0.2 + z * (0.14285715 + z * (0.11111111 + z * 0.09090909))));
    // 2 log2(e) in two parts.
    let l = oxg_two_product(s, 2.8853901);
    return vec2<f32>(l.x, l.y + s * -3.851926e-8 + t * 2.8853901);
}

fn oxg_pow(x: f32, y: f32) -> f32 {
    let a = abs(x);
    let inside = a > 0.0 && a < oxg_inf();
    let parts = oxg_split(select(1.5, a, inside));
    let l = oxg_log2_two(parts.f);
    let c = clamp(y, -1.0e9, 1.0e9);
    let whole_part = oxg_two_product(c, parts.k);
    let rest_part = oxg_two_product(c, l.x);
    let total = whole_part.x + rest_part.x;
    let n = round(clamp(total, -200.0, 200.0));
    let beyond = (whole_part.x - n) + rest_part.x;
    let t = beyond + ((whole_part.y + rest_part.y) + c * l.y);
    let r = select(t, 0.0, abs(total) > 190.0) * 0.6931472;
    var v = oxg_scale(1.0 + (r + oxg_small(r)), clamp(i32(n), -250, 250));
    // Zero and infinity to a power.
    let grows = (a > 1.0) == (y > 0.0);
    v = select(select(0.0, oxg_inf(), grows), v, inside);
    // A whole power keeps the sign where it is odd, any other of a negative number is nan.
    let whole = floor(y) == y;
    let half = 0.5 * y;
    let odd = whole && floor(half) != half;
    v = select(v, -v, odd && (bitcast<u32>(x) >> 31u) == 1u);
    v = select(v, oxg_nan(), (x < 0.0 && a < oxg_inf() && !whole) || oxg_isnan(x) || oxg_isnan(y));
    v = select(v, select(select(0.0, oxg_inf(), grows), 1.0, a == 1.0), abs(y) == oxg_inf() && !oxg_isnan(x));
    return select(v, 1.0, y == 0.0 || x == 1.0);
}

fn oxg_sqrt(x: f32) -> f32 {
    return select(sqrt(x), oxg_nan(), x < 0.0 || oxg_isnan(x));
}

fn oxg_rsqrt(x: f32) -> f32 {
    let y = 1.0 / oxg_sqrt(x);
    return select(y, oxg_copysign(oxg_inf(), x), x == 0.0);
}

fn oxg_cbrt(x: f32) -> f32 {
    let a = abs(x);
    // Far from the denormals, so that the corrections are not among them.
    let tiny = a < 1.0e-20;
    let huge = a > 1.0e36;
    let w = a * select(select(1.0, 281474976710656.0, tiny), 5.9604645e-8, huge);
    var r = bitcast<f32>(bitcast<u32>(w) / 3u + 709921077u);
    // Two steps of Halley; the last as a correction, so that its rounding does not show.
    let c = r * r * r;
    r = r - r * ((c - w) / (2.0 * c + w));
    let d = r * r;
    r = r - (r - w / d) * r / (2.0 * r + w / d);
    let y = oxg_copysign(r * select(select(1.0, 0.0000152587890625, tiny), 256.0, huge), x);
    return select(x, y, a > 0.0 && a < oxg_inf());
}

fn oxg_rcbrt(x: f32) -> f32 {
    let y = 1.0 / oxg_cbrt(x);
    return select(y, oxg_copysign(oxg_inf(), x), x == 0.0);
}

fn oxg_hypot(x: f32, y: f32) -> f32 {
    let a = max(abs(x), abs(y));
    let b = min(abs(x), abs(y));
    // By a power of two, so that the squares neither overflow nor vanish.
    let s = select(select(1.0, 1.0e-20, a > 1.0e18), 1.0e20, a < 1.0e-18);
    let h = sqrt((a * s) * (a * s) + (b * s) * (b * s)) / s;
    let n = select(h, oxg_nan(), oxg_isnan(x) || oxg_isnan(y));
    return select(n, oxg_inf(), abs(x) == oxg_inf() || abs(y) == oxg_inf());
}

// ---- angles ----

fn oxg_mulhi(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let mid = ah * bl + ((al * bl) >> 16u);
    let low = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (low >> 16u);
}

// 2 / pi in binary, after a word of zeros.
fn oxg_two_over_pi(i: u32) -> u32 {
    var t = array<u32, 8>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
    return t[min(i, 7u)];
}

fn oxg_pi_bits(at: u32) -> u32 {
    let i = at >> 5u;
    let s = at & 31u;
    return (oxg_two_over_pi(i) << s) | select(oxg_two_over_pi(i + 1u) >> ((32u - s) & 31u), 0u, s == 0u);
}

struct OxgTurn { q: i32, r: f32 }

// The nearest quarter turn and what is left, |r| <= pi / 4, for every finite x.
fn oxg_turn(x: f32) -> OxgTurn {
    let a = abs(x);
    var out: OxgTurn;
    if (a < 6000.0) {
        // pi / 2 in pieces of eleven bits: exact times any quarter count below 2^13.
        let n = round(x * 0.63661975);
        out.q = i32(n);
        out.r = (((x - n * 1.5703125) - n * 4.837512969970703e-4) - n * 7.54953362047672e-8) - n * 2.5633441e-12;
        return out;
    }
    // Payne and Hanek: the bits of 2 / pi that matter, times the 24 bits of x, modulo four quarter turns.
    let bits = bitcast<u32>(a);
    let m = (bits & 0x7fffffu) | 0x800000u;
    let at = u32(i32(bits >> 23u) - 150 + 30);
    let mid = oxg_pi_bits(at + 32u);
    let low0 = oxg_mulhi(m, oxg_pi_bits(at + 64u));
    var low = m * mid + low0;
    var high = m * oxg_pi_bits(at) + oxg_mulhi(m, mid) + select(0u, 1u, low < low0);
    let q = (high + 0x20000000u) >> 30u;
    high = high - (q << 30u);
    let minus = (high & 0x80000000u) != 0u;
    if (minus) {
        low = ~low + 1u;
        high = ~high + select(0u, 1u, low == 0u);
    }
    let f = f32(high >> 8u) * 2.384185791015625e-7 + (f32(high & 255u) * 9.313225746154785e-10 + f32(low) * 2.168404344971009e-19);
    let r = select(f, -f, minus) * 1.5707964;
    let flip = x < 0.0;
    out.q = select(i32(q), -i32(q), flip);
    out.r = select(r, -r, flip);
    return out;
}

fn oxg_sin_short(r: f32) -> f32 {
    let z = r * r;
    return r + r * z * (-0.16666655 + z * (0.008332161 + z * -0.00019515296));
}

fn oxg_cos_short(r: f32) -> f32 {
    let z = r * r;
    return 1.0 - (0.5 * z - z * z * (0.041666646 + z * (-0.0013887316 + z * 2.4433157e-5)));
}

fn oxg_sin(x: f32) -> f32 {
    let t = oxg_turn(select(x, 1.0, !(abs(x) < oxg_inf())));
    let y = select(oxg_sin_short(t.r), oxg_cos_short(t.r), (t.q & 1) == 1);
    let s = select(select(y, -y, (t.q & 2) == 2), x, abs(x) < 1.0e-4);
    return select(s, oxg_nan(), !(abs(x) < oxg_inf()));
}

fn oxg_cos(x: f32) -> f32 {
    let t = oxg_turn(select(x, 1.0, !(abs(x) < oxg_inf())));
    let y = select(oxg_cos_short(t.r), oxg_sin_short(t.r), (t.q & 1) == 1);
    return select(select(y, -y, ((t.q + 1) & 2) == 2), oxg_nan(), !(abs(x) < oxg_inf()));
}

fn oxg_tan(x: f32) -> f32 {
    let t = oxg_turn(select(x, 1.0, !(abs(x) < oxg_inf())));
    let s = oxg_sin_short(t.r);
    let c = oxg_cos_short(t.r);
    let odd = (t.q & 1) == 1;
    let y = select(s, -c, odd) / select(c, s, odd);
    return select(select(y, x, abs(x) < 1.0e-4), oxg_nan(), !(abs(x) < oxg_inf()));
}

fn oxg_atan(x: f32) -> f32 {
    let a = abs(x);
    let steep = a > 2.4142135;
    let mid = a > 0.41421357 && !steep;
    let t = select(select(a, (a - 1.0) / (a + 1.0), mid), -1.0 / a, steep);
    let z = t * t;
    let p = t + t * z * (-0.33332949 + z * (0.1997771 + z * (-0.13877686 + z * 0.080537446)));
    let y = select(select(p, 0.7853982 + p, mid), 1.5707964 + p, steep);
    return select(oxg_copysign(y, x), x, oxg_isnan(x));
}

fn oxg_asin_short(x: f32) -> f32 {
    let z = x * x;
    return x + x * z * (0.16666752 + z * (0.074953003 + z * (0.045470026 + z * (0.024181311 + z * 0.0421632))));
}

fn oxg_asin(x: f32) -> f32 {
    let a = abs(x);
    let far = 1.5707964 - 2.0 * oxg_asin_short(sqrt(max(0.5 * (1.0 - a), 0.0)));
    let y = oxg_copysign(select(oxg_asin_short(a), far, a > 0.5), x);
    return select(y, oxg_nan(), !(a <= 1.0));
}

fn oxg_acos(x: f32) -> f32 {
    let a = abs(x);
    let h = 2.0 * oxg_asin_short(sqrt(max(0.5 * (1.0 - a), 0.0)));
    let y = select(1.5707964 - oxg_asin_short(x), select(h, 3.1415927 - h, x < 0.0), a > 0.5);
    return select(y, oxg_nan(), !(a <= 1.0));
}

// ---- the error function ----

fn oxg_erf(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    let p = 0.12837917 + z * (-0.37612626 + z * (0.112836 + z * (-0.026854403 + z * (0.005189445
        + z * (-0.00080199476 + z * 7.885847e-5)))));
    let near = a + a * p;
    // 1 - e^q with q near log(erfc): beyond 4 the answer rounds to 1.
    let w = min(a, 4.0);
    let q = -0.00033269578 + w * (-1.1271225 + w * (-0.6380936 + w * (-0.103147924 + w * (0.021856291
        + w * (-0.0029518714 + w * 0.00018677641)))));
    let y = oxg_copysign(select(1.0 - oxg_exp(q), near, a < 1.0), x);
    return select(y, x, oxg_isnan(x));
}

fn oxg_erfinv(x: f32) -> f32 {
    let a = abs(x);
    let b = min(a, 0.99999994);
    let w = -(oxg_log1p(-b) + oxg_log1p(b));
    let c = w - 2.5;
    let near = 1.5014094 + c * (0.24664073 + c * (-0.0041776816 + c * (-0.001253725 + c * (0.00021858087
        + c * (-4.3915065e-6 + c * (-3.5233877e-6 + c * (3.4327394e-7 + c * 2.8102264e-8)))))));
    let d = sqrt(w) - 3.0;
    let far = 2.8329768 + d * (1.0016741 + d * (0.00943887 + d * (-0.0076224613 + d * (0.0057395077
        + d * (-0.0036734284 + d * (0.0013493432 + d * (0.00010095056 + d * -0.00020021426)))))));
    var y = select(far, near, w < 5.0) * b;
    // One step of Newton where erf is accurate enough to gain by it.
    let miss = oxg_erf(y) - b;
    y = select(y, y - miss * 0.88622693 * oxg_exp(y * y), b < 0.7);
    y = select(y, oxg_inf(), a == 1.0);
    return select(oxg_copysign(y, x), oxg_nan(), !(a <= 1.0));
}

// ---- arithmetic with MXNet's corners ----

// A card multiplies by the reciprocal, and that of the largest numbers is a denormal, so zero.
fn oxg_div(a: f32, b: f32) -> f32 {
    let s = select(1.0, 0.25, abs(b) > 8.0e37);
    return (a * s) / (b * s);
}

fn oxg_div_i(a: i32, b: i32) -> i32 {
    return select(a / select(b, 1, b == 0), 0, b == 0);
}

// The remainder with the divisor's sign, exact: long division on the mantissas.
fn oxg_mod(a: f32, b: f32) -> f32 {
    let x = abs(a);
    let y = abs(b);
    if (b == 0.0) {
        return 0.0;
    }
    if (oxg_isnan(a) || oxg_isnan(b) || x == oxg_inf()) {
        return oxg_nan();
    }
    var r = x;
    if (x >= y) {
        let ex = max(i32(bitcast<u32>(x) >> 23u), 1);
        let ey = max(i32(bitcast<u32>(y) >> 23u), 1);
        var m = (bitcast<u32>(x) & 0x7fffffu) | select(0u, 0x800000u, bitcast<u32>(x) >= 0x800000u);
        let d = (bitcast<u32>(y) & 0x7fffffu) | select(0u, 0x800000u, bitcast<u32>(y) >= 0x800000u);
        m = m % d;
        for (var i = ey; i < ex; i++) {
            m = (m << 1u) % d;
        }
        // The rest has the divisor's exponent: put it there by its leading bit.
        if (m == 0u) {
            r = 0.0;
        } else {
            let up = min(i32(countLeadingZeros(m)) - 8, ey - 1);
            let e = ey - up;
            let mant = m << u32(up);
            r = bitcast<f32>(select((u32(e) << 23u) | (mant & 0x7fffffu), mant, (mant & 0x800000u) == 0u));
        }
    }
    r = select(r, -r, (bitcast<u32>(a) >> 31u) == 1u);
    return select(r, r + b, r != 0.0 && ((r < 0.0) != (b < 0.0)));
}

fn oxg_mod_i(a: i32, b: i32) -> i32 {
    let d = select(b, 1, b == 0);
    let q = a / d;
    let r = a - q * d;
    let s = select(r, r + d, r != 0 && ((r < 0) != (d < 0)));
    return select(s, 0, b == 0);
}

// The larger; a nan wins, and of two zeros the second.
fn oxg_max(a: f32, b: f32) -> f32 {
    return select(b, a, a > b || oxg_isnan(a));
}

fn oxg_max_i(a: i32, b: i32) -> i32 {
    return max(a, b);
}

fn oxg_min(a: f32, b: f32) -> f32 {
    return select(b, a, a < b || oxg_isnan(a));
}

fn oxg_min_i(a: i32, b: i32) -> i32 {
    return min(a, b);
}

fn oxg_sign(x: f32) -> f32 {
    return select(select(0.0, 1.0, x > 0.0), -1.0, x < 0.0);
}

fn oxg_sign_i(x: i32) -> i32 {
    return sign(x);
}

fn oxg_relu(x: f32) -> f32 {
    return select(0.0, x, x > 0.0 || oxg_isnan(x));
}

fn oxg_relu_i(x: i32) -> i32 {
    return max(x, 0);
}

fn oxg_step(x: f32) -> f32 {
    return select(select(0.0, 1.0, x > 0.0), x, oxg_isnan(x));
}

fn oxg_step_i(x: i32) -> i32 {
    return select(0, 1, x > 0);
}

// A nan stays: drivers take the comparisons for `min` and `max`, which lose it.
fn oxg_clip(x: f32, low: f32, high: f32) -> f32 {
    return select(select(select(x, low, x < low), high, x > high), x, oxg_isnan(x));
}

fn oxg_clip_i(x: i32, low: i32, high: i32) -> i32 {
    return select(select(x, low, x < low), high, x > high);
}

// Halves away from zero.
fn oxg_round(x: f32) -> f32 {
    let t = trunc(x);
    return select(t, t + select(-1.0, 1.0, x > 0.0), abs(x - t) >= 0.5);
}

// Halves toward minus infinity, as MXNet's rint.
fn oxg_rint(x: f32) -> f32 {
    let f = floor(x);
    return oxg_copysign(select(f, f + 1.0, x - f > 0.5), x);
}

fn oxg_smooth_l1(x: f32, s: f32) -> f32 {
    let s2 = s * s;
    return select(abs(x) - 0.5 / s2, 0.5 * s2 * x * x, abs(x) < 1.0 / s2);
}

// ---- conversions, as C does them on x86 ----

fn oxg_to_i32(x: f32) -> i32 {
    let inside = x > -2147483904.0 && x < 2147483648.0;
    return select(bitcast<i32>(0x80000000u), i32(x), inside);
}
