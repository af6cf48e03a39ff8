// VIME's operations in plain JavaScript over JSON lines, with gradients by hand-written backpropagation.
//
//   vime-ref check --exec "node examples/vime_adapter.js"
//
// Arrays are nested lists. Flat weights hold, layer by layer, the matrix (I, O) in C order, then the biases. So the
// bias is row I of its layer's matrix, and every layer's input has a trailing 1.
"use strict";

const LOG_2PI = Math.log(2 * Math.PI);
const MIN_RHO = -700;

// ---------------------------------------------------------------- argument checks

class Refused extends Error {}

function require_(condition, message) {
  if (!condition) throw new Refused(message);
}

function shape(values, name) {
  if (!Array.isArray(values)) return [];
  const inner = values.map((entry) => shape(entry, name).join());
  require_(new Set(inner).size <= 1, `${name} must be rectangular`);
  return [values.length, ...(values.length ? shape(values[0], name) : [])];
}

function finite(values, name) {
  require_(values !== undefined, `${name} is missing`);
  for (const x of [values].flat(Infinity)) require_(Number.isFinite(Number(x)), `${name} must be finite, got ${x}`);
}

function positive(values, name) {
  finite(values, name);
  for (const x of [values].flat(Infinity)) require_(x > 0, `${name} must be > 0, got ${x}`);
}

function shaped(values, expected, name) {
  const got = shape(values, name);
  const empty = got[0] === 0 && expected[0] === 0;
  require_(empty || got.join() === expected.join(), `${name} must have shape (${expected}), got (${got})`);
  finite(values, name);
}

function whole(value, name) {
  require_(Number.isInteger(value) && value >= 1, `${name} must be a whole number >= 1, got ${value}`);
}

function fraction(value, name) {
  require_(value >= 0 && value <= 1, `${name} must be from 0 to 1, got ${value}`);
}

function countWeights(sizes) {
  require_(Array.isArray(sizes) && sizes.length >= 2, "layer_sizes must name inputs and outputs");
  sizes.forEach((size) => whole(size, "layer_sizes"));
  return sum(pairs(sizes).map(([i, o]) => (i + 1) * o));
}

function checkPosterior(mu, rho) {
  shaped(mu, [mu.length], "mu");
  shaped(rho, [mu.length], "rho");
  for (const r of rho) require_(r >= MIN_RHO, `rho must be >= ${MIN_RHO}, got ${r}`);
}

function checkNoise({ eps, zeta }, rows, sizes) {
  if (eps !== undefined) {
    require_(eps.length > 0, "eps must hold a sample");
    shaped(eps, [eps.length, countWeights(sizes)], "eps");
    return;
  }
  require_(zeta.length === sizes.length - 1, "zeta must have one array per layer");
  require_(zeta[0].length > 0, "zeta must hold a sample");
  zeta.forEach((values, layer) => shaped(values, [zeta[0].length, rows, sizes[layer + 1]], "zeta"));
}

function checkSigma(sigma, outputs) {
  positive(sigma, "likelihood_sigma");
  if (Array.isArray(sigma)) shaped(sigma, [outputs], "likelihood_sigma");
}

function checkModel(m) {
  const { inputs, targets, layer_sizes: sizes } = m;
  checkPosterior(m.mu, m.rho);
  shaped(m.mu, [countWeights(sizes)], "mu");
  require_(inputs.length > 0, "inputs must have at least one row");
  shaped(inputs, [inputs.length, sizes[0]], "inputs");
  shaped(targets, [inputs.length, sizes[sizes.length - 1]], "targets");
  checkNoise(m, inputs.length, sizes);
  checkSigma(m.likelihood_sigma, sizes[sizes.length - 1]);
}

// ---------------------------------------------------------------- building blocks: lists

function sum(values) {
  return values.reduce((total, x) => total + x, 0);
}

function pairs(values) {
  return values.slice(1).map((next, k) => [values[k], next]);
}

// The function of numbers, applied to nested lists with NumPy's broadcasting.
function each(f, ...args) {
  const depths = args.map((x) => shape(x, "input").length);
  const depth = Math.max(...depths);
  if (depth === 0) return f(...args);
  const lengths = args.filter((_, k) => depths[k] === depth).map((x) => x.length);
  const length = lengths.includes(0) ? 0 : Math.max(...lengths);
  require_(lengths.every((n) => n === length || n === 1), `lengths ${lengths} don't fit`);
  const entry = (x, k, n) => (depths[k] < depth ? x : x[x.length === 1 ? 0 : n]);
  return Array.from({ length }, (_, n) => each(f, ...args.map((x, k) => entry(x, k, n))));
}

function sumLast(values) {
  return Array.isArray(values[0]) ? values.map(sumLast) : sum(values);
}

function add(...columns) {
  return columns[0].map((_, k) => sum(columns.map((column) => column[k])));
}

function scaled(values, factor) {
  return values.map((x) => factor * x);
}

function logSumExp(values) {
  const top = Math.max(...values);
  return top + Math.log(sum(values.map((x) => Math.exp(x - top))));
}

// ---------------------------------------------------------------- building blocks: standard deviations and KL

function softplus(rho) {
  return rho > 0 ? rho + Math.log1p(Math.exp(-rho)) : Math.log1p(Math.exp(rho));
}

function sigmoid(rho) {
  return rho > 0 ? 1 / (1 + Math.exp(-rho)) : Math.exp(rho) / (1 + Math.exp(rho));
}

function softplusInverse(sigma) {
  return sigma > 1 ? sigma + Math.log1p(-Math.exp(-sigma)) : Math.log(Math.expm1(sigma));
}

// softplus(q) − softplus(p), with (1 + e^b)/(1 + e^a) rearranged so that nothing cancels.
function softplusDifference(q, p) {
  const [a, b] = q < p ? [q, p] : [p, q];
  const near = Math.log1p(sigmoid(a) * Math.expm1(b - a));
  return Math.sign(q - p) * (b - a > 600 ? softplus(b) - softplus(a) : near);
}

// e^x − 1 − x
function expExcess(x) {
  if (Math.abs(x) > 1) return Math.expm1(x) - x;
  let [term, total] = [(x * x) / 2, 0];
  for (let k = 3; term !== 0 && total + term !== total; term *= x / k, k += 1) total += term;
  return total;
}

function klFromLogs(meanMove, logRatio) {
  return 0.5 * (expExcess(2 * logRatio) + meanMove ** 2);
}

function klNormal(muQ, sigmaQ, muP, sigmaP, sigmaMove = sigmaQ - sigmaP) {
  const move = sigmaMove / sigmaP;
  const logRatio = Math.abs(move) < 0.5 ? Math.log1p(move) : Math.log(sigmaQ / sigmaP);
  return klFromLogs((muQ - muP) / sigmaP, logRatio);
}

function klOfParameters(muQ, rhoQ, muP, rhoP) {
  return klNormal(muQ, softplus(rhoQ), muP, softplus(rhoP), softplusDifference(rhoQ, rhoP));
}

function hessian(rho) {
  return { h_mu: rho.map((r) => softplus(r) ** -2), h_rho: rho.map((r) => 2 * (sigmoid(r) / softplus(r)) ** 2) };
}

function halfQuadratic(rho, deltaMu, deltaRho) {
  const { h_mu, h_rho } = hessian(rho);
  return 0.5 * sum(rho.map((_, k) => h_mu[k] * deltaMu[k] ** 2 + h_rho[k] * deltaRho[k] ** 2));
}

function normalLogDensity(x, mean, sigma) {
  return -0.5 * LOG_2PI - Math.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2;
}

// ---------------------------------------------------------------- building blocks: the network

// One layer with fixed weights: z_o = Σ_i a_i w_io, with the bias in row I.
function affine(a, weights, start, units) {
  return Array.from({ length: units }, (_, o) => sum(a.map((x, i) => x * weights[start + i * units + o])));
}

// Outputs of one row, and each layer's values for the backward pass; `unit` returns a layer's pre-activations.
function forward(x, sizes, unit) {
  const tape = [];
  let [z, start] = [x, 0];
  pairs(sizes).forEach(([inputs, units], layer) => {
    const a = [...(layer ? z.map((v) => (v > 0 ? v : 0)) : z), 1];
    const { pre, roots } = unit(a, start, units, layer);
    tape.push({ a, roots, start, units, layer });
    start += (inputs + 1) * units;
    z = pre;
  });
  return { output: z, tape };
}

function sampledUnit(theta) {
  return (a, start, units) => ({ pre: affine(a, theta, start, units) });
}

// Local reparameterization: z_o = Σ_i a_i μ_io + ζ_o √(Σ_i a_i² σ_io²).
function localUnit(mu, sigma, zetaOf) {
  return (a, start, units, layer) => {
    const variances = affine(a.map((x) => x * x), sigma.map((s) => s * s), start, units);
    const roots = variances.map(Math.sqrt);
    return { pre: affine(a, mu, start, units).map((m, o) => m + roots[o] * zetaOf(layer)[o]), roots };
  };
}

function thetaOf(mu, sigma, eps) {
  return mu.map((m, k) => m + sigma[k] * eps[k]);
}

function numSamples({ eps, zeta }) {
  return (eps || zeta[0]).length;
}

// The forward pass of sample s on row n.
function forwardOf(m, sigma, n, s) {
  const zetaOf = (layer) => m.zeta[layer][s][n];
  const unit = m.eps ? sampledUnit(thetaOf(m.mu, sigma, m.eps[s])) : localUnit(m.mu, sigma, zetaOf);
  return forward(m.inputs[n], m.layer_sizes, unit);
}

function sigmaAt(likelihoodSigma, o) {
  return Array.isArray(likelihoodSigma) ? likelihoodSigma[o] : likelihoodSigma;
}

function rowLogDensity(output, target, likelihoodSigma) {
  return sum(output.map((mean, o) => normalLogDensity(target[o], mean, sigmaAt(likelihoodSigma, o))));
}

function logDensities(m) {
  const sigma = m.rho.map(softplus);
  const one = (n, s) => rowLogDensity(forwardOf(m, sigma, n, s).output, m.targets[n], m.likelihood_sigma);
  return Array.from({ length: numSamples(m) }, (_, s) => m.inputs.map((_, n) => one(n, s)));
}

// Add weight · ∂log p/∂(μ, σ) of one sample on one row to the sums, layer by layer from the last.
function backward(m, sigma, n, s, weight, sums) {
  const { output, tape } = forwardOf(m, sigma, n, s);
  let delta = output.map((z, o) => (weight * (m.targets[n][o] - z)) / sigmaAt(m.likelihood_sigma, o) ** 2);
  for (const { a, roots, start, units, layer } of tape.reverse()) {
    const back = a.map(() => 0);
    for (let i = 0; i < a.length; i += 1) {
      for (let o = 0; o < units; o += 1) {
        const k = start + i * units + o;
        const noise = m.eps ? m.eps[s][k] : (m.zeta[layer][s][n][o] / roots[o]) * a[i] * sigma[k];
        sums.mu[k] += delta[o] * a[i];
        sums.sigma[k] += delta[o] * a[i] * noise;
        back[i] += delta[o] * (m.mu[k] + sigma[k] * noise);
      }
    }
    delta = back.slice(0, -1).map((d, i) => (a[i] > 0 ? d : 0));
  }
}

// ∇ of Σ_rows mean_S log p in μ and ρ.
function evidenceGrad(m, rows) {
  const sigma = m.rho.map(softplus);
  const sums = { mu: m.mu.map(() => 0), sigma: m.mu.map(() => 0) };
  const samples = numSamples(m);
  for (const n of rows) for (let s = 0; s < samples; s += 1) backward(m, sigma, n, s, 1 / samples, sums);
  return { mu: sums.mu, rho: sums.sigma.map((g, k) => g * sigmoid(m.rho[k])) };
}

// ∇ of KL[q‖p] in μ and ρ.
function klGrad(mu, rho, priorMu, priorRho) {
  const [sigma, prior] = [rho.map(softplus), priorRho.map(softplus)];
  const move = rho.map((r, k) => softplusDifference(r, priorRho[k]) / prior[k]);
  return {
    mu: mu.map((m, k) => (m - priorMu[k]) / prior[k] ** 2),
    rho: rho.map((r, k) => sigmoid(r) * move[k] * (1 / sigma[k] + 1 / prior[k])),
  };
}

// ---------------------------------------------------------------- the algorithm: bound, step, gain

function checkBound(m) {
  checkModel(m);
  checkPosterior(m.prior_mu, m.prior_rho);
  shaped(m.prior_mu, [m.mu.length], "prior_mu");
  positive(m.num_data, "num_data");
}

function elbo(m) {
  checkBound(m);
  const logP = logDensities(m);
  const evidence = (m.num_data / m.inputs.length) * (sum(logP.map(sum)) / logP.length);
  return evidence - sum(m.mu.map((mu, k) => klOfParameters(mu, m.rho[k], m.prior_mu[k], m.prior_rho[k])));
}

function elboGrad(m) {
  checkBound(m);
  const evidence = evidenceGrad(m, m.inputs.keys());
  const kl = klGrad(m.mu, m.rho, m.prior_mu, m.prior_rho);
  const joined = (name) => add(scaled(evidence[name], m.num_data / m.inputs.length), scaled(kl[name], -1));
  return { grad_mu: joined("mu"), grad_rho: joined("rho") };
}

// φ − λH⁻¹∇ℓ from row n; the KL's own gradient is 0 at φ.
function stepped(m, n) {
  const gradient = evidenceGrad(m, [n]);
  const { h_mu, h_rho } = hessian(m.rho);
  const mu = m.mu.map((x, k) => x + (m.step_size * gradient.mu[k]) / h_mu[k]);
  const rho = m.rho.map((x, k) => x + (m.step_size * gradient.rho[k]) / h_rho[k]);
  checkPosterior(mu, rho);
  return { mu, rho };
}

function posteriorStep(m) {
  checkModel(m);
  positive(m.step_size, "step_size");
  require_(m.inputs.length === 1, "inputs must be one transition");
  return stepped(m, 0);
}

function updatedFrom(m, n) {
  let [mu, rho] = [m.mu, m.rho];
  for (let step = 0; step < m.num_steps; step += 1) {
    const evidence = evidenceGrad({ ...m, mu, rho }, [n]);
    const kl = klGrad(mu, rho, m.mu, m.rho);
    mu = add(mu, scaled(evidence.mu, m.learning_rate), scaled(kl.mu, -m.learning_rate));
    rho = add(rho, scaled(evidence.rho, m.learning_rate), scaled(kl.rho, -m.learning_rate));
    checkPosterior(mu, rho);
  }
  return { mu, rho };
}

function posteriorUpdates(m) {
  checkModel(m);
  whole(m.num_steps, "num_steps");
  positive(m.learning_rate, "learning_rate");
  const rows = m.inputs.map((_, n) => updatedFrom(m, n));
  return { mu: rows.map((row) => row.mu), rho: rows.map((row) => row.rho) };
}

function gainOf(m, n) {
  if (m.method === "exact") {
    const { mu, rho } = stepped(m, n);
    return sum(mu.map((x, k) => klOfParameters(x, rho[k], m.mu[k], m.rho[k])));
  }
  const gradient = evidenceGrad(m, [n]);
  const { h_mu, h_rho } = hessian(m.rho);
  return 0.5 * m.step_size ** 2 * sum(h_mu.map((h, k) => gradient.mu[k] ** 2 / h + gradient.rho[k] ** 2 / h_rho[k]));
}

function informationGains(m) {
  checkModel(m);
  positive(m.step_size, "step_size");
  require_(["taylor", "exact"].includes(m.method), `method must be 'taylor' or 'exact', got ${m.method}`);
  return m.inputs.map((_, n) => gainOf(m, n));
}

function predictiveLogDensity(m) {
  checkModel(m);
  const logP = logDensities(m);
  return m.inputs.map((_, n) => logSumExp(logP.map((sample) => sample[n])) - Math.log(logP.length));
}

// ---------------------------------------------------------------- the algorithm: rewards

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function normalizeGains({ gains, history, window, statistic, include_current }) {
  finite(gains, "gains");
  finite(history, "history");
  require_(gains.length > 0, "gains must have at least one row");
  whole(window, "window");
  require_(["median", "mean"].includes(statistic), `statistic must be 'median' or 'mean', got ${statistic}`);
  require_(Math.min(...gains, ...history) >= 0, "gains and history must be >= 0");
  // The mean replaces a median of 0; a batch of zeros does not enter the history.
  const middle = statistic === "median" ? median(gains) : 0;
  const current = middle || sum(gains) / gains.length;
  const all = (current ? [...history, current] : history).slice(-window);
  const used = include_current ? all : history.slice(-window);
  const divisor = used.length ? sum(used) / used.length : 0;
  return { gains: gains.map((gain) => gain / (divisor || 1)), history: all };
}

function curiousRewards({ rewards, gains, eta }) {
  finite(rewards, "rewards");
  shaped(gains, shape(rewards, "rewards"), "gains");
  require_(Number.isFinite(eta) && eta >= 0, `eta must be >= 0 and finite, got ${eta}`);
  return each((r, gain) => r + eta * gain, rewards, gains);
}

function discountedReturns({ rewards, gamma, last_value }) {
  shaped(rewards, [rewards.length], "rewards");
  finite(last_value, "last_value");
  fraction(gamma, "gamma");
  const backwards = [];
  for (const reward of [...rewards].reverse()) backwards.push(reward + gamma * (backwards.at(-1) ?? last_value));
  return backwards.reverse();
}

function gaeAdvantages({ rewards, values, next_values, terminated, truncated, gamma, lam }) {
  fraction(gamma, "gamma");
  fraction(lam, "lam");
  Object.entries({ rewards, values, next_values, terminated, truncated }).forEach(([name, column]) =>
    shaped(column, [rewards.length], name),
  );
  checkFlags(terminated, "terminated");
  checkFlags(truncated, "truncated");
  const advantages = rewards.map((r, t) => r + (terminated[t] ? 0 : gamma * next_values[t]) - values[t]);
  for (let t = rewards.length - 2; t >= 0; t -= 1) {
    if (!terminated[t] && !truncated[t]) advantages[t] += gamma * lam * advantages[t + 1];
  }
  return advantages;
}

// ---------------------------------------------------------------- the algorithm: policies

function checkGaussian(mean, logStd) {
  shaped(mean, [mean.length, logStd.length], "mean");
  shaped(logStd, [logStd.length], "log_std");
}

function gaussianLogProb({ mean, log_std, actions }) {
  checkGaussian(mean, log_std);
  shaped(actions, [mean.length, log_std.length], "actions");
  return sumLast(each((m, l, a) => -0.5 * LOG_2PI - l - 0.5 * ((a - m) * Math.exp(-l)) ** 2, mean, log_std, actions));
}

function gaussianEntropy({ mean, log_std }) {
  checkGaussian(mean, log_std);
  return mean.map(() => sum(log_std) + 0.5 * log_std.length * (LOG_2PI + 1));
}

function gaussianKl({ mean_old, log_std_old, mean_new, log_std_new }) {
  checkGaussian(mean_old, log_std_old);
  checkGaussian(mean_new, log_std_new);
  shaped(mean_new, [mean_old.length, log_std_old.length], "mean_new");
  const one = (m, l, mNew, lNew) => klFromLogs((m - mNew) * Math.exp(-lNew), l - lNew);
  return sumLast(each(one, mean_old, log_std_old, mean_new, log_std_new));
}

function logProbs(logits) {
  require_(logits.length === 0 || shape(logits, "logits")[1] > 0, "logits must be (N, A)");
  shaped(logits, [logits.length, (logits[0] || []).length], "logits");
  return logits.map((row) => {
    const shifted = row.map((l) => l - Math.max(...row));
    return each((l, total) => l - total, shifted, logSumExp(shifted));
  });
}

function categoricalLogProb({ logits, actions }) {
  const logP = logProbs(logits);
  shaped(actions, [logits.length], "actions");
  for (const a of actions) require_(Number.isInteger(a) && a >= 0 && a < logits[0].length, `action ${a} is none`);
  return actions.map((a, n) => logP[n][a]);
}

function categoricalEntropy({ logits }) {
  return logProbs(logits).map((row) => -sum(row.map((l) => Math.exp(l) * l)));
}

function categoricalKl({ logits_old, logits_new }) {
  shaped(logits_new, shape(logits_old, "logits_old"), "logits_new");
  const [old, now] = [logProbs(logits_old), logProbs(logits_new)];
  return old.map((row, n) => sum(row.map((l, a) => Math.exp(l) * (l - now[n][a]))));
}

// ---------------------------------------------------------------- the algorithm: replay

function replayTransitions({ observations, actions }) {
  require_(observations.length > 0 && observations.length === actions.length, "episodes must be as many in both");
  const [seenSize, doneSize] = [observations[0][0].length, (actions[0][0] || []).length];
  observations.forEach((seen, episode) => {
    shaped(actions[episode], [actions[episode].length, doneSize], "actions");
    shaped(seen, [actions[episode].length + 1, seenSize], "observations");
  });
  return {
    observations: observations.flatMap((seen) => seen.slice(0, -1)),
    actions: actions.flat(),
    next_observations: observations.flatMap((seen) => seen.slice(1)),
  };
}

function inputStatistics({ rows }) {
  require_(rows.length > 0, "rows must hold at least one");
  shaped(rows, [rows.length, rows[0].length], "rows");
  const columns = rows[0].map((_, k) => rows.map((row) => row[k]));
  const center = columns.map((column) => sum(column) / rows.length);
  const spread = (column, mean) => Math.sqrt(sum(column.map((x) => (x - mean) ** 2)) / rows.length);
  const varied = (column) => column.some((x) => x !== column[0]);
  return { center, scale: columns.map((column, k) => (varied(column) ? spread(column, center[k]) : 1)) };
}

// ---------------------------------------------------------------- the algorithm: strategies and tabular values

function checkValues(values, name) {
  shaped(values, [values.length], name);
  require_(values.length > 0, `${name} must hold one at least`);
}

function checkCounts(counts, expected) {
  shaped(counts, expected, "counts");
  for (const n of counts.flat()) require_(Number.isInteger(n) && n >= 0, `counts must be whole numbers >= 0, got ${n}`);
}

function epsilonGreedy({ q_values, epsilon }) {
  checkValues(q_values, "q_values");
  fraction(epsilon, "epsilon");
  const best = q_values.map((q) => q === Math.max(...q_values));
  const share = (1 - epsilon) / best.filter(Boolean).length;
  return best.map((isBest) => epsilon / best.length + (isBest ? share : 0));
}

// In units of the largest distance from the maximum, so that squares do not overflow.
function deviation(values) {
  const least = Math.min(...values);
  const unit = Math.max(...values) - least;
  const moved = values.map((x) => (x - least) / unit); // exact differences where values nearly agree
  const mean = sum(moved) / values.length;
  return unit * Math.sqrt(sum(moved.map((x) => (x - mean) ** 2)) / values.length);
}

function boltzmann({ q_values, temperature }) {
  checkValues(q_values, "q_values");
  if (temperature !== null) positive(temperature, "temperature");
  const best = Math.max(...q_values);
  const equal = q_values.every((q) => q === best);
  const unit = temperature ?? deviation(q_values);
  const weights = q_values.map((q) => (equal ? 1 : Math.exp((q - best) / unit)));
  return weights.map((weight) => weight / sum(weights));
}

function upperBounds(values, counts, alpha) {
  const total = sum(counts);
  return values.map((x, a) => (counts[a] ? x + alpha * Math.sqrt((2 * Math.log(total)) / counts[a]) : Infinity));
}

function ucb1({ means, counts, t }) {
  checkValues(means, "means");
  checkCounts(counts, [means.length]);
  require_(t === sum(counts), `t must be the sum of counts, got ${t}`);
  return upperBounds(means, counts, 1);
}

function ucbStateAction({ q_values, counts, alpha }) {
  checkValues(q_values, "q_values");
  checkCounts(counts, [q_values.length]);
  require_(Number.isFinite(alpha) && alpha >= 0, `alpha must be >= 0 and finite, got ${alpha}`);
  return upperBounds(q_values, counts, alpha);
}

function qUpdate({ value, reward, next_values, terminated, learning_rate, gamma }) {
  checkValues(next_values, "next_values");
  finite([value, reward], "value and reward");
  fraction(gamma, "gamma");
  fraction(learning_rate, "learning_rate");
  positive(learning_rate, "learning_rate");
  const following = terminated ? 0 : Math.max(...next_values);
  return value + learning_rate * (reward + gamma * following - value);
}

// ---------------------------------------------------------------- the algorithm: counts and densities

// factor/(e^x − 1), infinite if there is no gain.
function overExpm1(factor, x) {
  return x > 0 ? (factor * Math.exp(-x)) / -Math.expm1(-x) : Infinity;
}

function pseudoCountOf(logProb, logProbAfter) {
  require_(logProb <= 0, `log_prob must be <= 0, got ${logProb}`);
  require_(logProbAfter <= 0 && logProbAfter > -Infinity, `log_prob_after must be <= 0 and finite, got ${logProbAfter}`);
  return overExpm1(-Math.expm1(logProbAfter), logProbAfter - logProb);
}

function pseudoCount({ log_prob, log_prob_after }) {
  shaped(log_prob_after, shape(log_prob, "log_prob"), "log_prob_after");
  return each(pseudoCountOf, log_prob, log_prob_after);
}

function pixelCnnPseudoCount({ gain, num_seen, c }) {
  whole(num_seen, "num_seen");
  positive(c, "c");
  const one = (x) => (require_(!Number.isNaN(x), "gain must be a number"), overExpm1(1, (c * x) / Math.sqrt(num_seen)));
  return each(one, gain);
}

function countBonus({ counts, beta }) {
  positive(beta, "beta");
  return each((n) => (require_(n >= 0, `counts must be >= 0, got ${n}`), beta / Math.sqrt(n + 0.01)), counts);
}

function checkSymbols(symbols, count, name) {
  for (const x of [symbols].flat(Infinity))
    require_(Number.isInteger(x) && x >= 0 && x < count, `${name} must be indices below ${count}, got ${x}`);
}

function checkAlpha(alpha) {
  require_(Number.isFinite(alpha) && alpha >= 0, `alpha must be >= 0 and finite, got ${alpha}`);
}

function dirichletOf(seen, total, alpha, numSymbols) {
  require_(total + alpha > 0, "alpha must be > 0 before the first observation");
  return sum(seen.map((n) => Math.log((n + alpha) / (total + numSymbols * alpha))));
}

function dirichletLogProb({ counts, alpha, observation }) {
  const [pixels, numSymbols] = shape(counts, "counts");
  checkCounts(counts, [pixels, numSymbols]);
  checkAlpha(alpha);
  const totals = counts.map(sum);
  require_(totals.every((total) => total === totals[0]), "counts must have the same sum for each pixel");
  shaped(observation, [pixels], "observation");
  checkSymbols(observation, numSymbols, "observation");
  return dirichletOf(observation.map((x, p) => counts[p][x]), totals[0], alpha, numSymbols);
}

function dirichletPseudoCounts({ symbols, num_symbols, alpha }) {
  shaped(symbols, [symbols.length, symbols[0].length], "symbols");
  whole(num_symbols, "num_symbols");
  checkSymbols(symbols, num_symbols, "symbols");
  checkAlpha(alpha);
  return symbols.map((row, t) => {
    const seen = row.map((x, p) => symbols.slice(0, t).filter((before) => before[p] === x).length);
    const after = seen.map((n) => n + 1);
    return pseudoCountOf(dirichletOf(seen, t, alpha, num_symbols), dirichletOf(after, t + 1, alpha, num_symbols));
  });
}

// A context tree: each context's symbol counts, and the weight w of its own estimator; its child has weight 1 − w.
function contextTree(numSymbols, rate) {
  require_(rate === null || (rate >= 0 && rate <= 0.5), `rate must be from 0 to 0.5, got ${rate}`);
  const nodes = new Map();
  let seen = 0;
  const nodeAt = (context) => {
    const key = context.join();
    if (!nodes.has(key)) nodes.set(key, { counts: new Map(), total: 0, w: 0.5 });
    return nodes.get(key);
  };
  // Return log P(symbol | context), nearest symbol first, and learn the symbol.
  return (context, symbol) => {
    seen += 1;
    const a = rate ?? 1 / (seen + 1);
    let below;
    for (let length = context.length; length >= 0; length -= 1) {
      const node = nodeAt(context.slice(0, length));
      const count = node.counts.get(symbol) ?? 0;
      const own = (count + 0.5) / (node.total + 0.5 * numSymbols);
      node.counts.set(symbol, count + 1);
      node.total += 1;
      if (below === undefined) {
        below = own;
        continue;
      }
      const [stay, split] = [node.w * own, (1 - node.w) * below];
      below = stay + split;
      node.w = ((1 - a) * stay + a * split) / below;
    }
    return Math.log(below);
  };
}

function ctsLogProbs({ bits, depth, rate }) {
  shaped(bits, [bits.length], "bits");
  checkSymbols(bits, 2, "bits");
  require_(Number.isInteger(depth) && depth >= 0, `depth must be a whole number >= 0, got ${depth}`);
  const logProb = contextTree(2, rate);
  const padded = [...Array(depth).fill(0), ...bits];
  return bits.map((bit, t) => logProb(padded.slice(t, t + depth).reverse(), bit));
}

function imageCtsLogProbs({ images, num_levels, rate }) {
  const [count, height, width] = shape(images, "images");
  shaped(images, [count, height, width], "images");
  whole(num_levels - 1, "num_levels - 1");
  checkSymbols(images, num_levels, "images");
  const trees = Array.from({ length: height * width }, () => contextTree(num_levels, rate));
  return images.map((image) => {
    const at = (y, x) => image[y]?.[x] ?? 0;
    const context = (y, x) => [at(y, x - 1), at(y - 1, x), at(y - 1, x - 1), at(y - 1, x + 1)];
    return sum(image.flatMap((row, y) => row.map((level, x) => trees[y * width + x](context(y, x), level))));
  });
}

// ---------------------------------------------------------------- the algorithm: auxiliary tasks and memory

function pixelControlRewards({ observations, cell_size }) {
  const [count, height, width, channels] = shape(observations, "observations");
  shaped(observations, [count, height, width, channels], "observations");
  require_(channels !== undefined && count > 1, "observations must be (T+1, H, W, C) with T >= 1");
  whole(cell_size, "cell_size");
  require_(height % cell_size === 0 && width % cell_size === 0, `H and W must be multiples of ${cell_size}`);
  const strips = (values) =>
    Array.from({ length: values.length / cell_size }, (_, k) => values.slice(k * cell_size, (k + 1) * cell_size));
  const change = (next, old) => each((a, b) => Math.abs(a - b), next, old);
  const cell = (rows) => sum(rows.flat(2)) / (cell_size * cell_size * channels);
  const transposed = (rows) => rows[0].map((_, x) => rows.map((row) => row[x]));
  return pairs(observations).map(([old, next]) =>
    strips(change(next, old)).map((rows) => strips(transposed(rows)).map(cell)),
  );
}

function featureControlRewards({ activations }) {
  shaped(activations, [activations.length, activations[0].length], "activations");
  require_(activations.length > 1, "activations must be (T+1, G) with T >= 1");
  return activations.slice(1);
}

function checkFlags(flags, name) {
  require_(Array.isArray(flags), `${name} must be (T, ...)`);
  for (const flag of flags.flat(Infinity)) require_(Number(flag) === 0 || Number(flag) === 1, `${name} has ${flag}`);
}

// Flags have the leading axes of rewards: an environment's flag holds for all its cells.
function stepBack(gamma, reward, beyond, over, cut, following) {
  const at = (x, k) => (Array.isArray(x) ? x[k] : x);
  if (!Array.isArray(reward)) return reward + gamma * (Number(over) ? 0 : Number(cut) ? beyond : following);
  return reward.map((r, k) => stepBack(gamma, r, beyond[k], at(over, k), at(cut, k), following[k]));
}

function nStepReturns({ rewards, next_values, terminated, truncated, gamma }) {
  fraction(gamma, "gamma");
  const axes = shape(rewards, "rewards");
  finite(rewards, "rewards");
  require_(rewards.length > 0, "rewards must have at least one row");
  shaped(next_values, axes, "next_values");
  Object.entries({ terminated, truncated }).forEach(([name, flags]) => {
    checkFlags(flags, name);
    shaped(flags, axes.slice(0, shape(flags, name).length), name);
  });
  const backwards = [];
  for (let t = rewards.length - 1; t >= 0; t -= 1) {
    const following = backwards.at(-1) ?? next_values[t];
    backwards.push(stepBack(gamma, rewards[t], next_values[t], terminated[t], truncated[t], following));
  }
  return backwards.reverse();
}

function nStepQTargets({ next_q_values, ...path }) {
  const axes = shape(next_q_values, "next_q_values");
  finite(next_q_values, "next_q_values");
  require_(axes.length === shape(path.rewards, "rewards").length + 1, "next_q_values must have an axis of actions");
  const best = (q) => (Array.isArray(q[0]) ? q.map(best) : Math.max(...q));
  return nStepReturns({ ...path, next_values: best(next_q_values) });
}

function dueling({ values, advantages }) {
  finite(advantages, "advantages");
  shaped(values, shape(advantages, "advantages").slice(0, -1), "values");
  require_(Array.isArray(values), "values must be (...), with an axis at least");
  const one = (v, a) => (Array.isArray(v) ? v.map((x, k) => one(x, a[k])) : a.map((x) => v + (x - sum(a) / a.length)));
  return one(values, advantages);
}

function controlLoss({ q_values, actions, targets }) {
  const [steps, cells, count] = shape(q_values, "q_values");
  shaped(q_values, [steps, cells, count], "q_values");
  require_(count > 0, "q_values must be (N, G, A)");
  shaped(actions, [steps], "actions");
  checkSymbols(actions, count, "actions");
  shaped(targets, [steps, cells], "targets");
  const squares = targets.map((row, n) => sum(row.map((target, g) => (target - q_values[n][g][actions[n]]) ** 2)));
  return (0.5 * sum(squares)) / steps;
}

function rewardClass({ rewards }) {
  finite(rewards, "rewards");
  return each((r) => (r > 0 ? 2 : r < 0 ? 0 : 1), rewards);
}

function windowEnds(ended) {
  checkFlags(ended, "ended");
  const fits = (now, one, two) => (Array.isArray(now) ? now.map((x, k) => fits(x, one[k], two[k])) : Number(!+one && !+two));
  const none = (row) => each(() => 0, row);
  return ended.map((row, t) => (t < 2 ? none(row) : fits(row, ended[t - 1], ended[t - 2])));
}

// Indices of all entries, ordered by the first axis, then by the second.
function placesOf(values) {
  return Array.isArray(values) ? values.flatMap((x, k) => placesOf(x).map((place) => [k, ...place])) : [[]];
}

function sampleRewardWindows({ rewards, ended, coins, places }) {
  finite(rewards, "rewards");
  shaped(ended, shape(rewards, "rewards"), "ended");
  shaped(coins, [coins.length], "coins");
  shaped(places, [coins.length], "places");
  for (const x of [...coins, ...places]) require_(x >= 0 && x < 1, `coins and places must be in [0, 1), got ${x}`);
  const [entry, fits] = [(values, place) => place.reduce((x, k) => x[k], values), windowEnds(ended)];
  const windows = placesOf(fits).filter((place) => entry(fits, place));
  const paid = windows.filter((place) => entry(rewards, place) !== 0);
  const unpaid = windows.filter((place) => entry(rewards, place) === 0);
  if (!windows.length) return [];
  return coins.map((coin, n) => {
    const kind = (coin < 0.5 && paid.length) || !unpaid.length ? paid : unpaid;
    return kind[Math.floor(places[n] * kind.length)];
  });
}

function lstmStep({ gate_inputs, hidden, cell, weights }) {
  const [rows, units] = shape(hidden, "hidden");
  shaped(hidden, [rows, units], "hidden");
  shaped(cell, [rows, units], "cell");
  shaped(gate_inputs, [rows, 4 * units], "gate_inputs");
  shaped(weights, [units, 4 * units], "weights");
  const gates = gate_inputs.map((row, b) => row.map((x, j) => x + sum(hidden[b].map((h, i) => h * weights[i][j]))));
  const gate = (b, quarter, j) => gates[b][quarter * units + j];
  const kept = (c, b, j) => sigmoid(gate(b, 1, j)) * c + sigmoid(gate(b, 0, j)) * Math.tanh(gate(b, 3, j));
  const cells = cell.map((row, b) => row.map((c, j) => kept(c, b, j)));
  return { hidden: cells.map((row, b) => row.map((c, j) => sigmoid(gate(b, 2, j)) * Math.tanh(c))), cell: cells };
}

// ---------------------------------------------------------------- the operations

function klDiagNormal({ mu_q, sigma_q, mu_p, sigma_p }) {
  const lasts = [mu_q, sigma_q, mu_p, sigma_p].map((x) => shape(x, "input").at(-1));
  require_(lasts[0] !== undefined && new Set(lasts).size === 1, `last axes must be equal, got ${lasts}`);
  [mu_q, mu_p].forEach((x) => finite(x, "mu"));
  [sigma_q, sigma_p].forEach((x) => positive(x, "sigma"));
  return sumLast(each((...one) => klNormal(...one), mu_q, sigma_q, mu_p, sigma_p));
}

function klTaylor({ mu, rho, delta_mu, delta_rho }) {
  checkPosterior(mu, rho);
  shaped(delta_mu, [mu.length], "delta_mu");
  shaped(delta_rho, [mu.length], "delta_rho");
  return halfQuadratic(rho, delta_mu, delta_rho);
}

function informationGain({ mu_new, rho_new, mu_old, rho_old }) {
  checkPosterior(mu_new, rho_new);
  checkPosterior(mu_old, rho_old);
  shaped(mu_new, [mu_old.length], "mu_new");
  return sum(mu_new.map((mu, k) => klOfParameters(mu, rho_new[k], mu_old[k], rho_old[k])));
}

function mlp({ theta, inputs, layer_sizes }) {
  shaped(theta, [theta.length, countWeights(layer_sizes)], "theta");
  shaped(inputs, [inputs.length, layer_sizes[0]], "inputs");
  return theta.map((weights) => inputs.map((x) => forward(x, layer_sizes, sampledUnit(weights)).output));
}

function sampleWeights({ mu, rho, eps }) {
  checkPosterior(mu, rho);
  require_(eps.length > 0, "eps must hold a sample");
  shaped(eps, [eps.length, mu.length], "eps");
  return eps.map((noise) => thetaOf(mu, rho.map(softplus), noise));
}

function mlpLocal(m) {
  checkPosterior(m.mu, m.rho);
  shaped(m.mu, [countWeights(m.layer_sizes)], "mu");
  shaped(m.inputs, [m.inputs.length, m.layer_sizes[0]], "inputs");
  checkNoise(m, m.inputs.length, m.layer_sizes);
  const sigma = m.rho.map(softplus);
  return m.zeta[0].map((_, s) => m.inputs.map((_, n) => forwardOf(m, sigma, n, s).output));
}

function logLikelihood({ outputs, targets, likelihood_sigma }) {
  const [samples, rows, units] = shape(outputs, "outputs");
  shaped(outputs, [samples, rows, units], "outputs");
  shaped(targets, [rows, units], "targets");
  checkSigma(likelihood_sigma, units);
  return outputs.map((sample) => sample.map((output, n) => rowLogDensity(output, targets[n], likelihood_sigma)));
}

function elementwise(f, checks) {
  return (inputs) => {
    for (const [name, check] of Object.entries(checks)) check(inputs[name], name);
    return each(f, ...Object.keys(checks).map((name) => inputs[name]));
  };
}

const OPERATIONS = {
  softplus: elementwise(softplus, { rho: finite }),
  softplus_inverse: elementwise(softplusInverse, { sigma: positive }),
  normal_log_density: elementwise(normalLogDensity, { x: finite, mean: finite, sigma: positive }),
  kl_diag_normal: klDiagNormal,
  kl_hessian_diag: ({ mu, rho }) => (checkPosterior(mu, rho), hessian(rho)),
  kl_taylor: klTaylor,
  information_gain: informationGain,
  mlp,
  sample_weights: sampleWeights,
  mlp_local: mlpLocal,
  log_likelihood: logLikelihood,
  predictive_log_density: predictiveLogDensity,
  elbo,
  elbo_local: elbo,
  elbo_grad: elboGrad,
  elbo_grad_local: elboGrad,
  posterior_step: posteriorStep,
  posterior_step_local: posteriorStep,
  posterior_updates: posteriorUpdates,
  information_gains: informationGains,
  information_gains_local: informationGains,
  normalize_gains: normalizeGains,
  curious_rewards: curiousRewards,
  discounted_returns: discountedReturns,
  gae_advantages: gaeAdvantages,
  gaussian_log_prob: gaussianLogProb,
  gaussian_entropy: gaussianEntropy,
  gaussian_kl: gaussianKl,
  categorical_log_prob: categoricalLogProb,
  categorical_entropy: categoricalEntropy,
  categorical_kl: categoricalKl,
  replay_transitions: replayTransitions,
  input_statistics: inputStatistics,
  epsilon_greedy: epsilonGreedy,
  boltzmann,
  ucb1,
  ucb_state_action: ucbStateAction,
  q_update: qUpdate,
  pseudo_count: pseudoCount,
  pixel_cnn_pseudo_count: pixelCnnPseudoCount,
  count_bonus: countBonus,
  dirichlet_log_prob: dirichletLogProb,
  dirichlet_pseudo_counts: dirichletPseudoCounts,
  cts_log_probs: ctsLogProbs,
  image_cts_log_probs: imageCtsLogProbs,
  pixel_control_rewards: pixelControlRewards,
  feature_control_rewards: featureControlRewards,
  n_step_returns: nStepReturns,
  n_step_q_targets: nStepQTargets,
  dueling,
  control_loss: controlLoss,
  reward_class: rewardClass,
  reward_prediction_windows: ({ ended }) => windowEnds(ended),
  sample_reward_windows: sampleRewardWindows,
  lstm_step: lstmStep,
};

// ---------------------------------------------------------------- traces

// The rows of lists, next to each other.
function beside(first, second) {
  return first.map((row, n) => [...row, ...second[n]]);
}

// A trace: reset gives settings and state as fields, step takes it one line on.
class Trace {
  reset(given) {
    Object.assign(this, given);
  }
}

class VimeIterations extends Trace {
  step(line) {
    // Reward: every row from the same posterior, in the units of the last statistics.
    const batch = [line.observations, line.actions, line.next_observations];
    batch.forEach((column) => shaped(column, [line.rewards.length, column[0].length], "columns"));
    const model = { mu: this.mu, rho: this.rho, layer_sizes: this.layer_sizes, likelihood_sigma: this.likelihood_sigma };
    const stepping = { step_size: this.step_size, method: "exact", eps: line.eps };
    const gains = informationGains({ ...model, ...stepping, ...this.rowsOf(batch) });
    const window = { window: this.window, statistic: "median", include_current: true };
    const normal = normalizeGains({ gains, history: this.history, ...window });
    const curious = curiousRewards({ rewards: line.rewards, gains: normal.gains, eta: this.eta });

    // Policy.
    const advantages = gaeAdvantages({ ...line, rewards: curious, gamma: this.gamma, lam: this.lam });

    // Model: the pool and its statistics first.
    const pool = this.poolWith(batch);
    Object.assign(this, inputStatistics({ rows: beside(pool[0], pool[1]) }), { history: normal.history });
    this.fit(this.rowsOf(pool), line.rows, line.fit_eps);
    const { mu, rho, center, scale, history } = this;
    const divisor = history.length ? sum(history) / history.length : 1;
    return { gains, divisor, curious_rewards: curious, advantages, center, scale, mu, rho, history };
  }

  rowsOf([observations, actions, nextObservations]) {
    const normal = (row) => row.map((x, k) => (x - this.center[k]) / this.scale[k]);
    return { inputs: beside(observations, actions).map(normal), targets: nextObservations.map(normal) };
  }

  poolWith(batch) {
    const names = ["pool_observations", "pool_actions", "pool_next_observations"];
    names.forEach((name, k) => {
      this[name] = [...this[name], ...batch[k]];
    });
    return names.map((name) => this[name]);
  }

  // Adam on minibatches; its state goes on from the iteration before.
  fit({ inputs, targets }, rows, noise) {
    const prior = { prior_mu: this.prior_mu, prior_rho: this.prior_rho, num_data: this.num_data };
    const fixed = { ...prior, layer_sizes: this.layer_sizes, likelihood_sigma: this.likelihood_sigma };
    rows.forEach((chosen, update) => {
      const data = { inputs: chosen.map((n) => inputs[n]), targets: chosen.map((n) => targets[n]) };
      const slope = elboGrad({ ...fixed, ...data, mu: this.mu, rho: this.rho, eps: noise[update] });
      const phi = this.adamStep([...this.mu, ...this.rho], scaled([...slope.grad_mu, ...slope.grad_rho], -1));
      [this.mu, this.rho] = [phi.slice(0, this.mu.length), phi.slice(this.mu.length)];
    });
  }

  adamStep(params, gradient) {
    this.adam_steps += 1;
    this.adam_mean = this.adam_mean.map((m, k) => 0.9 * m + 0.1 * gradient[k]);
    this.adam_square = this.adam_square.map((v, k) => 0.999 * v + 0.001 * gradient[k] ** 2);
    const [mean, square] = [1 - 0.9 ** this.adam_steps, 1 - 0.999 ** this.adam_steps];
    const step = (k) => this.adam_mean[k] / mean / (Math.sqrt(this.adam_square[k] / square) + 1e-8);
    return params.map((x, k) => x - this.learning_rate * step(k));
  }
}

class ReplayPool extends Trace {
  step(line) {
    whole(this.capacity, "capacity");
    const names = ["observations", "actions", "next_observations"];
    const result = {};
    for (const name of names) {
      const rows = [...this[`pool_${name}`], ...line[name]].slice(-this.capacity);
      require_(line.rows.every((n) => n in rows), "rows must be in the pool");
      this[`pool_${name}`] = rows;
      result[name] = line.rows.map((n) => rows[n]);
    }
    return { ...result, ...inputStatistics({ rows: beside(this.pool_observations, this.pool_actions) }) };
  }
}

class AutoresetTransitions extends Trace {
  step({ actions, observations, final_observations: final, terminated, truncated }) {
    const last = this.last_observations;
    require_(["next_step", "same_step"].includes(this.mode), `unknown mode ${this.mode}`);
    require_(actions.length === last.length, "actions must have a row per environment");
    const now = terminated.map((end, e) => end || truncated[e]);
    const nextStep = this.mode === "next_step";
    const learned = this.ended.map((end) => (nextStep && end ? 0 : 1));
    const reached = observations.map((row, e) => (!nextStep && now[e] ? final[e] : row));
    [this.last_observations, this.ended] = [observations, now];
    const kept = (rows) => rows.filter((_, e) => learned[e]);
    return { learned, observations: kept(last), actions: kept(actions), next_observations: kept(reached) };
  }
}

// Moments {mean, variance, count} merged with those of numbers.
function merged({ mean, variance, count }, values) {
  finite(values, "values");
  positive(variance, "variance");
  const own = sum(values) / values.length;
  const total = count + values.length;
  const inside = count * variance + sum(values.map((x) => (x - own) ** 2));
  const between = ((own - mean) ** 2 * count * values.length) / total;
  return { mean: mean + ((own - mean) * values.length) / total, variance: (inside + between) / total, count: total };
}

class RunningNormalizer extends Trace {
  step({ rows }) {
    const { mean, variance, count } = this;
    const columns = mean.map((m, k) => merged({ mean: m, variance: variance[k], count }, rows.map((row) => row[k])));
    const [means, variances] = [columns.map((c) => c.mean), columns.map((c) => c.variance)];
    Object.assign(this, { mean: means, variance: variances, count: columns[0].count });
    const normalized = rows.map((row) => row.map((x, k) => (x - means[k]) / Math.sqrt(variances[k])));
    return { normalized, mean: means, variance: variances, count: this.count };
  }
}

class FilteredRewards extends Trace {
  step({ rewards }) {
    fraction(this.gamma, "gamma");
    const sums = [];
    for (const row of rewards) {
      this.sums = row.map((r, e) => this.gamma * this.sums[e] + r);
      sums.push(this.sums);
    }
    Object.assign(this, merged(this, sums.flat()));
    const root = Math.sqrt(this.variance);
    return { sums, variance: this.variance, normalized: rewards.map((row) => row.map((r) => r / root)) };
  }
}

const TRACES = {
  vime_iterations: VimeIterations,
  replay_pool: ReplayPool,
  autoreset_transitions: AutoresetTransitions,
  running_normalizer: RunningNormalizer,
  filtered_rewards: FilteredRewards,
};

// ---------------------------------------------------------------- the protocol

const running = {};

const WORDS = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

// JSON has no non-finite numbers, so they are sent as strings.
function decoded(key, value) {
  return typeof value === "string" && Object.hasOwn(WORDS, value) ? WORDS[value] : value;
}

function encoded(key, value) {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

function run({ cmd, operation, inputs }) {
  const offered = cmd === "run" ? OPERATIONS : TRACES;
  if (!Object.hasOwn(offered, operation)) return { skipped: "not offered" };
  try {
    if (cmd === "reset") {
      running[operation] = new TRACES[operation]();
      running[operation].reset(inputs);
      return { result: {} };
    }
    return { result: cmd === "step" ? running[operation].step(inputs) : OPERATIONS[operation](inputs) };
  } catch (error) {
    return error instanceof Refused ? { refused: error.message } : { error: String(error) };
  }
}

function answer(request) {
  if (request.cmd === "stop") process.exit(0);
  if (request.cmd === "start") return { ok: true, implementation: "examples/vime_adapter.js", version: 2 };
  return ["run", "reset", "step"].includes(request.cmd) ? run(request) : { error: `unknown command ${request.cmd}` };
}

require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const request = JSON.parse(line, decoded);
    process.stdout.write(`${JSON.stringify({ seq: request.seq, ...answer(request) }, encoded)}\n`);
  });
