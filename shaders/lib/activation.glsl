// Activations and their derivatives; the constant ACTIVATION (enum dapt_activation) selects one.
const uint ACT_NONE = 0, ACT_GELU = 1, ACT_GELU_TANH = 2, ACT_SILU = 3, ACT_RELU = 4;

// 1 - erf(x), relative error below 1.2e-7 (Numerical Recipes, 6.2).
float erfc(float x) {
    float z = abs(x), t = 1.0 / (1.0 + 0.5 * z);
    float s = -0.82215223 + t * 0.17087277;
    s = -1.13520398 + t * (1.48851587 + t * s);
    s = -0.18628806 + t * (0.27886807 + t * s);
    s = 0.37409196 + t * (0.09678418 + t * s);
    float r = t * safe_exp(-z * z - 1.26551223 + t * (1.00002368 + t * s));
    return x >= 0.0 ? r : 2.0 - r;
}
float normal_cdf(float x) {
    return 0.5 * erfc(-0.70710678 * x);
}
float sigmoid(float x) {
    float t = safe_exp(-abs(x));
    return (x >= 0.0 ? 1.0 : t) / (1.0 + t);
}
// The tanh of GELU as a sigmoid: 0.5 (1 + tanh(u)) = sigmoid(2u), without cancellation.
float gelu_inner(float x) {
    return 1.5957691 * (x + 0.044715 * x * x * x);
}

float act(float x) {
    switch (ACTIVATION) {
    case ACT_GELU: return x * normal_cdf(x);
    case ACT_GELU_TANH: return x * sigmoid(gelu_inner(x));
    case ACT_SILU: return x * sigmoid(x);
    case ACT_RELU: return x < 0.0 ? 0.0 : x;
    }
    return x;
}

float act_grad(float x) {
    switch (ACTIVATION) {
    case ACT_GELU: return normal_cdf(x) + x * 0.39894228 * safe_exp(-0.5 * x * x);
    case ACT_GELU_TANH: {
        float u = gelu_inner(x), s = sigmoid(u);
        return s + x * s * sigmoid(-u) * 1.5957691 * (1.0 + 0.134145 * x * x);
    }
    case ACT_SILU: {
        float s = sigmoid(x);
        return s * (1.0 + x * (1.0 - s));
    }
    case ACT_RELU: return x > 0.0 ? 1.0 : (x <= 0.0 ? 0.0 : x);
    }
    return 1.0;
}
