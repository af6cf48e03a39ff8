// An adapter for every operation of the specification, written from docs/operations.md and the vectors
// alone, without a look at any other implementation. C++17, the standard library only, all in double.
//
//   c++ -O1 -std=c++17 -o vime_adapter vime_adapter.cpp
//   vime-ref check --exec ./vime_adapter

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using std::size_t;
using std::string;
using std::vector;
typedef vector<double> Numbers;
typedef vector<size_t> Shape;

const double INFINITE = std::numeric_limits<double>::infinity();
const double LOG_2PI = 1.8378770664093454836;

// Bad input: the answer is `refused`.
struct Rejection : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool condition, const string& sentence) {
  if (!condition) throw Rejection(sentence);
}

// ---------------------------------------------------------------------------------------------- JSON
struct Json {
  enum Kind { NOTHING, FLAG, NUMBER, TEXT, LIST, OBJECT } kind = NOTHING;
  double number = 0;  // also a flag: 0 or 1
  string text;
  vector<Json> items;
  std::map<string, Json> members;
};

class Reader {
 public:
  explicit Reader(const string& line) : at(line.c_str()) {}
  Json value() {
    Json json;
    if (taken("{")) read_object(json);
    else if (taken("[")) read_list(json);
    else if (taken("\"")) read_text(json);
    else if (taken("true")) set(json, Json::FLAG, 1);
    else if (taken("false")) set(json, Json::FLAG, 0);
    else if (!taken("null")) read_number(json);
    return json;
  }
 private:
  const char* at;
  static void set(Json& json, Json::Kind kind, double number) { json.kind = kind, json.number = number; }
  bool taken(const char* word) {
    at += std::strspn(at, " \t\r\n");
    if (std::strncmp(at, word, std::strlen(word)) != 0) return false;
    at += std::strlen(word);
    return true;
  }
  void expect(const char* word) {
    if (!taken(word)) throw std::runtime_error(string("the line is not JSON: there is no ") + word);
  }
  void read_number(Json& json) {
    char* end = nullptr;
    set(json, Json::NUMBER, std::strtod(at, &end));
    if (end == at) throw std::runtime_error("the line is not JSON");
    at = end;
  }
  void read_list(Json& json) {
    json.kind = Json::LIST;
    if (taken("]")) return;
    do json.items.push_back(value());
    while (taken(","));
    expect("]");
  }
  void read_object(Json& json) {
    json.kind = Json::OBJECT;
    if (taken("}")) return;
    do {
      string key = value().text;
      expect(":");
      json.members[key] = value();
    } while (taken(","));
    expect("}");
  }
  // The names and texts of the protocol need no escapes: they are left as they stand.
  void read_text(Json& json) {
    json.kind = Json::TEXT;
    for (; *at && *at != '"'; ++at) {
      if (*at == '\\') json.text += *at++;
      json.text += *at;
    }
    expect("\"");
  }
};

string written(double x) {
  if (std::isnan(x)) return "\"NaN\"";
  if (std::isinf(x)) return x > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.17g", x);
  return buffer;
}

// -------------------------------------------------------------------------------------------- arrays
struct Array {
  Shape shape;
  Numbers data;
  double operator()(size_t i, size_t j) const { return data[i * shape[1] + j]; }
};

Array zeros(const Shape& shape) {
  size_t size = std::accumulate(shape.begin(), shape.end(), size_t(1), std::multiplies<size_t>());
  return {shape, Numbers(size, 0.0)};
}

Numbers row_of(const Array& rows, size_t n) {
  size_t length = rows.shape.back();
  return Numbers(rows.data.begin() + n * length, rows.data.begin() + (n + 1) * length);
}

string written(const Array& array, size_t axis, size_t& next) {
  if (axis == array.shape.size()) return written(array.data[next++]);
  string text = "[";
  for (size_t i = 0; i < array.shape[axis]; ++i) {
    if (i) text += ", ";
    text += written(array, axis + 1, next);
  }
  return text + "]";
}

double number_in(const Json& json) {
  if (json.kind == Json::NUMBER) return json.number;
  if (json.kind == Json::TEXT && json.text == "NaN") return std::nan("");
  if (json.kind == Json::TEXT && json.text == "Infinity") return INFINITE;
  if (json.kind == Json::TEXT && json.text == "-Infinity") return -INFINITE;
  throw Rejection("an entry is not a number");
}

double flag_in(const Json& json) {
  bool binary = json.kind == Json::NUMBER && (json.number == 0 || json.number == 1);
  require(json.kind == Json::FLAG || binary, "a flag must be true or false");
  return json.number;
}

// The shape of nested lists; all lists of one axis must be of one length.
Shape collect(const Json& json, double (*entry)(const Json&), Numbers& data) {
  if (json.kind != Json::LIST) {
    data.push_back(entry(json));
    return {};
  }
  Shape inner;
  for (size_t i = 0; i < json.items.size(); ++i) {
    Shape shape = collect(json.items[i], entry, data);
    require(i == 0 || shape == inner, "the lists of an array differ in length");
    inner = shape;
  }
  inner.insert(inner.begin(), json.items.size());
  return inner;
}

// Behind an axis of length 0 the other axes are not written.
void complete(Shape& shape, size_t axes) {
  while (shape.size() < axes && !shape.empty() && shape.back() == 0) shape.push_back(1);
}

Shape broadcast(const Shape& a, const Shape& b) {
  Shape shape = a.size() > b.size() ? a : b;
  const Shape& other = a.size() > b.size() ? b : a;
  for (size_t i = 0; i < other.size(); ++i) {
    size_t& length = shape[shape.size() - other.size() + i];
    require(length == other[i] || length == 1 || other[i] == 1, "the shapes do not broadcast");
    if (length == 1) length = other[i];
  }
  return shape;
}

// The place in an array of shape `from` that is broadcast to the place `flat` of shape `to`.
size_t source(const Shape& from, const Shape& to, size_t flat) {
  size_t place = 0, stride = 1;
  for (size_t k = 0; k < from.size(); ++k) {
    size_t length = from[from.size() - 1 - k], index = flat % to[to.size() - 1 - k];
    flat /= to[to.size() - 1 - k];
    if (length > 1) place += index * stride;
    stride *= length;
  }
  return place;
}

// -------------------------------------------------------------------------------------------- inputs
enum Domain { FINITE, POSITIVE, NOT_NEGATIVE, PROBABILITY, RHO, LOG_STD, NOT_NAN };

void check(double x, Domain domain, const string& name) {
  require(!std::isnan(x), name + " must be numbers, not NaN");
  if (domain == NOT_NAN) return;
  require(std::isfinite(x), name + " must be finite");
  require(domain != POSITIVE || x > 0, name + " must be > 0");
  require(domain != NOT_NEGATIVE || x >= 0, name + " must be >= 0");
  require(domain != PROBABILITY || (x >= 0 && x <= 1), name + " must be from 0 to 1");
  require((domain != RHO && domain != LOG_STD) || x >= -700, name + " must be >= -700");
  require(domain != LOG_STD || x <= 700, name + " must be <= 700");
}

// The inputs of one case. Letters of axes get the length that they have where they are first seen.
class Inputs {
 public:
  std::map<string, size_t> letters;
  explicit Inputs(const Json& json) : json(json) {}
  const Json& get(const string& name) const {
    auto found = json.members.find(name);
    require(found != json.members.end(), "there is no input " + name);
    return found->second;
  }
  bool is_null(const string& name) const { return get(name).kind == Json::NOTHING; }
  // An array of any shape.
  Array array(const string& name, Domain domain) const { return array(get(name), name, domain); }
  // An array whose axes have these letters, or lengths if an axis is written in digits.
  Array array(const string& name, const vector<string>& axes, Domain domain = FINITE) {
    Array result = array(name, domain);
    match(result.shape, axes, name);
    return result;
  }
  vector<Array> arrays(const string& name, Domain domain = FINITE) const {
    require(get(name).kind == Json::LIST, name + " must be a list of arrays");
    vector<Array> result;
    for (const Json& item : get(name).items) result.push_back(array(item, name, domain));
    return result;
  }
  Array flags(const string& name) const {
    Array result;
    result.shape = collect(get(name), flag_in, result.data);
    return result;
  }
  double number(const string& name, Domain domain = FINITE) const {
    double x = number_in(get(name));
    check(x, domain, name);
    return x;
  }
  // Whole numbers stay doubles: they are exact below 2^53.
  double whole(const string& name, double least) const {
    double x = number(name);
    require(x == std::floor(x), name + " must be a whole number");
    require(x >= least, name + " must be >= " + std::to_string((long)least));
    return x;
  }
  vector<size_t> indices(const string& name, const vector<string>& axes, double below) {
    vector<size_t> result;
    for (double x : array(name, axes).data) {
      require(x == std::floor(x), name + " must be whole numbers");
      require(x >= 0 && x < below, name + " must be indices from 0, below the number of choices");
      result.push_back((size_t)x);
    }
    return result;
  }
  bool flag(const string& name) const {
    require(get(name).kind == Json::FLAG, name + " must be true or false");
    return get(name).number == 1;
  }
  string text(const string& name, const string& one, const string& other) const {
    const Json& input = get(name);
    bool known = input.kind == Json::TEXT && (input.text == one || input.text == other);
    require(known, name + " must be " + one + " or " + other);
    return input.text;
  }
  void match(Shape& shape, const vector<string>& axes, const string& name) {
    size_t written_axes = shape.size();
    complete(shape, axes.size());
    require(shape.size() == axes.size(), name + " has the wrong number of axes");
    for (size_t i = 0; i < axes.size(); ++i) {
      bool digits = axes[i].find_first_not_of("0123456789") == string::npos;
      auto bound = letters.find(axes[i]);
      size_t length = digits ? std::stoul(axes[i]) : bound != letters.end() ? bound->second : shape[i];
      if (i >= written_axes) {
        shape[i] = length;
        continue;
      }
      require(shape[i] == length, name + " must have the length " + axes[i] + " in an axis");
      if (!digits) letters[axes[i]] = length;
    }
  }
 private:
  const Json& json;
  static Array array(const Json& from, const string& name, Domain domain) {
    Array result;
    result.shape = collect(from, number_in, result.data);
    for (double x : result.data) check(x, domain, name);
    return result;
  }
};

typedef vector<std::pair<string, Array>> Outputs;
typedef std::function<Outputs(Inputs&)> Function;

Outputs alone(const Array& array) { return {{"", array}}; }
Outputs alone(double number) { return {{"", Array{{}, {number}}}}; }
Outputs alone(const Numbers& numbers) { return {{"", Array{{numbers.size()}, numbers}}}; }

Outputs each(Array array, const std::function<double(double)>& function) {
  for (double& x : array.data) x = function(x);
  return alone(array);
}

Outputs each_row(size_t N, const std::function<double(size_t)>& function) {
  Numbers result;
  for (size_t n = 0; n < N; ++n) result.push_back(function(n));
  return alone(result);
}

// ----------------------------------------------------------------------------------------- functions
double square(double x) { return x * x; }

// log(1 + e^rho)
double softplus(double rho) { return std::max(rho, 0.0) + std::log1p(std::exp(-std::fabs(rho))); }

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

Numbers mapped(const Numbers& numbers, double (*function)(double)) {
  Numbers result(numbers.size());
  std::transform(numbers.begin(), numbers.end(), result.begin(), function);
  return result;
}

double sum(const Numbers& numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0.0); }

double mean(const Numbers& numbers) { return sum(numbers) / numbers.size(); }
double largest(const Numbers& numbers) { return *std::max_element(numbers.begin(), numbers.end()); }
double largest_size(const Numbers& numbers) { return largest(mapped(numbers, std::fabs)); }

// sum of e^(x - max x)
double sum_of_exponentials(const Numbers& numbers) {
  double total = 0, top = largest(numbers);
  for (double x : numbers) total += std::exp(x - top);
  return total;
}

void extend(Numbers& all, const Numbers& more) { all.insert(all.end(), more.begin(), more.end()); }

// log N(x; m, s) = -log(2 pi)/2 - log s - ((x - m)/s)^2/2
double log_normal(double x, double m, double s) {
  return -0.5 * LOG_2PI - std::log(s) - 0.5 * square((x - m) / s);
}

// ------------------------------------------------------------------------------------------------ KL
// r - log(1 + r); near 0 by r*u - 2*u^3*(1/3 + u^2/5 + ...), u = r/(2 + r). log_ratio is log(1 + r)/2.
double excess(double r, double log_ratio) {
  if (std::fabs(r) < 0.25) {
    double u = r / (2 + r), series = 0;
    for (int k = 10; k >= 1; --k) series = series * u * u + 1.0 / (2 * k + 1);
    return r * u - 2 * u * u * u * series;
  }
  return r - (r > -0.5 ? std::log1p(r) : 2 * log_ratio);
}

// Twice one term of the KL: difference = sigma_q - sigma_p, shift = mu_q - mu_p.
double kl_term(double shift, double difference, double sigma_q, double sigma_p) {
  double d = difference / sigma_p, ratio = sigma_q / sigma_p;
  double log_ratio = ratio > 1e-300 ? std::log(ratio) : std::log(sigma_q) - std::log(sigma_p);
  return excess(d * (2 + d), log_ratio) + square(shift / sigma_p);
}

// softplus(low + rise) - softplus(low), rise >= 0
double softplus_rise(double low, double rise) {
  if (rise > 700) return softplus(low + rise) - softplus(low);
  return std::log1p(sigmoid(low) * std::expm1(rise));
}

// softplus(rho + step) - softplus(rho)
double softplus_change(double rho, double step) {
  return step >= 0 ? softplus_rise(rho, step) : -softplus_rise(rho + step, -step);
}

// KL(mu_q, softplus(rho_q), mu_p, softplus(rho_p))
double kl_of_rho(const Numbers& mu_q, const Numbers& rho_q, const Numbers& mu_p, const Numbers& rho_p) {
  double total = 0;
  for (size_t i = 0; i < mu_q.size(); ++i) {
    double difference = softplus_change(rho_p[i], rho_q[i] - rho_p[i]);
    total += kl_term(mu_q[i] - mu_p[i], difference, softplus(rho_q[i]), softplus(rho_p[i]));
  }
  return 0.5 * total;
}

// dKL/drho_q = sigmoid(rho_q)*(sigma_q/sigma_p^2 - 1/sigma_q); the bracket is (sq - sp)(sq + sp)/(sp^2*sq)
double kl_slope_rho(double rho_q, double rho_p) {
  double sigma_q = softplus(rho_q), sigma_p = softplus(rho_p);
  double difference = softplus_change(rho_p, rho_q - rho_p);
  return sigmoid(rho_q) * (difference / sigma_p) * ((sigma_q + sigma_p) / sigma_p) / sigma_q;
}

double kl_slope_mu(double mu_q, double mu_p, double rho_p) {
  return (mu_q - mu_p) / softplus(rho_p) / softplus(rho_p);
}

Outputs softplus_operation(Inputs& in) { return each(in.array("rho", FINITE), softplus); }

// rho = sigma + log(-expm1(-sigma))
Outputs softplus_inverse(Inputs& in) {
  return each(in.array("sigma", POSITIVE), [](double x) { return x + std::log(-std::expm1(-x)); });
}

Outputs kl_diag_normal(Inputs& in) {
  vector<Array> given = {in.array("mu_q", FINITE), in.array("sigma_q", POSITIVE), in.array("mu_p", FINITE),
                         in.array("sigma_p", POSITIVE)};
  Shape shape;
  for (const Array& a : given) {
    bool same = !a.shape.empty() && a.shape.back() == given[0].shape.back();
    require(same, "all must have the same last axis");
    shape = broadcast(shape, a.shape);
  }
  size_t D = shape.back();
  Array result = zeros(Shape(shape.begin(), shape.end() - 1));
  for (size_t k = 0; k < result.data.size() * D; ++k) {
    double x[4];
    for (int a = 0; a < 4; ++a) x[a] = given[a].data[source(given[a].shape, shape, k)];
    result.data[k / D] += 0.5 * kl_term(x[0] - x[2], x[1] - x[3], x[1], x[3]);
  }
  return alone(result);
}

// h_mu = 1/sigma^2, h_rho = 2*(sigmoid(rho)/sigma)^2
Outputs kl_hessian_diag(Inputs& in) {
  Array mu = in.array("mu", {"D"}), rho = in.array("rho", {"D"}, RHO);
  Array h_mu = rho, h_rho = rho;
  for (size_t i = 0; i < rho.data.size(); ++i) {
    double sigma = softplus(rho.data[i]);
    h_mu.data[i] = square(1 / sigma);
    h_rho.data[i] = 2 * square(sigmoid(rho.data[i]) / sigma);
  }
  return {{"h_mu", h_mu}, {"h_rho", h_rho}};
}

// KL = sum of h_mu*dmu^2 + h_rho*drho^2, halved
Outputs kl_taylor(Inputs& in) {
  Numbers mu = in.array("mu", {"D"}).data, rho = in.array("rho", {"D"}, RHO).data;
  Numbers delta_mu = in.array("delta_mu", {"D"}).data, delta_rho = in.array("delta_rho", {"D"}).data;
  double total = 0;
  for (size_t i = 0; i < rho.size(); ++i) {
    double sigma = softplus(rho[i]);
    total += square(delta_mu[i] / sigma) + 2 * square(delta_rho[i] * (sigmoid(rho[i]) / sigma));
  }
  return alone(0.5 * total);
}

Outputs information_gain(Inputs& in) {
  Numbers mu_new = in.array("mu_new", {"D"}).data, rho_new = in.array("rho_new", {"D"}, RHO).data;
  Numbers mu_old = in.array("mu_old", {"D"}).data, rho_old = in.array("rho_old", {"D"}, RHO).data;
  return alone(kl_of_rho(mu_new, rho_new, mu_old, rho_old));
}

// ------------------------------------------------------------------------------------------- network
struct Net {
  vector<size_t> sizes;    // n_0 ... n_L
  vector<size_t> offsets;  // where the numbers of layer l begin, for l = 1 ... L
  size_t L() const { return sizes.size() - 1; }
};

// What the backward pass needs: h_0 ... h_L, with z_L as h_L, and sqrt(var_l) of a local network.
struct Pass {
  vector<Numbers> h, root;
};

Net read_net(Inputs& in) {
  Array layer_sizes = in.array("layer_sizes", {"L + 1"});
  require(layer_sizes.data.size() >= 2, "there must be two layer sizes or more");
  Net net;
  double D = 0;
  for (double size : layer_sizes.data) {
    require(size >= 1 && size == std::floor(size) && size < 1e9, "layer sizes must be whole and >= 1");
    if (!net.sizes.empty()) {
      net.offsets.push_back((size_t)D);
      D += (net.sizes.back() + 1.0) * size;
    }
    require(D < 1e12, "the network is too large");
    net.sizes.push_back((size_t)size);
  }
  in.letters["I"] = net.sizes.front();
  in.letters["O"] = net.sizes.back();
  in.letters["D"] = (size_t)D;
  return net;
}

// sum over i of h[i]*W[i, o], plus b[o]
Numbers affine(const double* layer, const Numbers& h, size_t outputs) {
  Numbers z(outputs, 0.0);
  for (size_t i = 0; i < h.size(); ++i)
    for (size_t o = 0; o < outputs; ++o) z[o] += h[i] * layer[i * outputs + o];
  for (size_t o = 0; o < outputs; ++o) z[o] += layer[h.size() * outputs + o];
  return z;
}

// h = max(z, 0), but z itself in the last layer
Numbers activation(Numbers z, bool last) {
  for (double& x : z) {
    require(std::isfinite(x), "an activation overflows");
    if (!last && !(x > 0)) x = 0;
  }
  return z;
}

Pass network(const Net& net, const Numbers& theta, const Numbers& x) {
  Pass pass;
  pass.h.push_back(x);
  for (size_t l = 1; l <= net.L(); ++l) {
    Numbers z = affine(&theta[net.offsets[l - 1]], pass.h.back(), net.sizes[l]);
    pass.h.push_back(activation(z, l == net.L()));
  }
  return pass;
}

// z_l = mean_l + sqrt(var_l)*zeta_l; zeta[l - 1] is the noise of layer l
Pass local_network(const Net& net, const Numbers& mu, const Numbers& variance, const Numbers& x,
                   const vector<Numbers>& zeta) {
  Pass pass;
  pass.h.push_back(x);
  for (size_t l = 1; l <= net.L(); ++l) {
    const Numbers& h = pass.h.back();
    Numbers z = affine(&mu[net.offsets[l - 1]], h, net.sizes[l]);
    Numbers var = affine(&variance[net.offsets[l - 1]], mapped(h, square), net.sizes[l]);
    pass.root.push_back(mapped(var, std::sqrt));
    for (size_t o = 0; o < z.size(); ++o) z[o] += pass.root.back()[o] * zeta[l - 1][o];
    pass.h.push_back(activation(z, l == net.L()));
  }
  return pass;
}

// Adds h[i]*delta[o] to the gradient of W[i, o] and delta[o] to that of b[o].
void add_layer(double* gradient, const Numbers& h, const Numbers& delta) {
  for (size_t i = 0; i < h.size(); ++i)
    for (size_t o = 0; o < delta.size(); ++o) gradient[i * delta.size() + o] += h[i] * delta[o];
  for (size_t o = 0; o < delta.size(); ++o) gradient[h.size() * delta.size() + o] += delta[o];
}

// sum over o of W[i, o]*delta[o]
Numbers back(const double* layer, size_t inputs, const Numbers& delta) {
  Numbers result(inputs, 0.0);
  for (size_t i = 0; i < inputs; ++i)
    for (size_t o = 0; o < delta.size(); ++o) result[i] += layer[i * delta.size() + o] * delta[o];
  return result;
}

// Adds df/dtheta, from delta = df/dz_L.
void backward(const Net& net, const Numbers& theta, const Pass& pass, Numbers delta, Numbers& gradient) {
  for (size_t l = net.L(); l >= 1; --l) {
    const Numbers& h = pass.h[l - 1];
    add_layer(&gradient[net.offsets[l - 1]], h, delta);
    if (l == 1) return;
    delta = back(&theta[net.offsets[l - 1]], h.size(), delta);
    for (size_t i = 0; i < h.size(); ++i)
      if (!(h[i] > 0)) delta[i] = 0;
  }
}

// Adds df/dmu and df/d(sigma^2), from delta = df/dz_L; kappa = delta*zeta/(2*sqrt(var)).
void local_backward(const Net& net, const Numbers& mu, const Numbers& variance, const Pass& pass,
                    const vector<Numbers>& zeta, Numbers delta, Numbers& grad_mu, Numbers& grad_variance) {
  for (size_t l = net.L(); l >= 1; --l) {
    const Numbers& h = pass.h[l - 1];
    size_t offset = net.offsets[l - 1];
    Numbers kappa = delta;
    for (size_t o = 0; o < kappa.size(); ++o) kappa[o] *= zeta[l - 1][o] / (2 * pass.root[l - 1][o]);
    add_layer(&grad_mu[offset], h, delta);
    add_layer(&grad_variance[offset], mapped(h, square), kappa);
    if (l == 1) return;
    Numbers through_mean = back(&mu[offset], h.size(), delta);
    Numbers through_variance = back(&variance[offset], h.size(), kappa);
    delta.assign(h.size(), 0.0);
    for (size_t i = 0; i < h.size(); ++i)
      if (h[i] > 0) delta[i] = through_mean[i] + 2 * h[i] * through_variance[i];
  }
}

// theta = mu + sigma*eps
Numbers sampled(const Numbers& mu, const Numbers& sigma, const Numbers& eps) {
  Numbers theta = mu;
  for (size_t i = 0; i < theta.size(); ++i) theta[i] += sigma[i] * eps[i];
  return theta;
}

vector<Array> read_zeta(Inputs& in, const Net& net) {
  vector<Array> zeta = in.arrays("zeta");
  require(zeta.size() == net.L(), "zeta must have one array per layer");
  for (size_t l = 1; l <= net.L(); ++l)
    in.match(zeta[l - 1].shape, {"S", "N", std::to_string(net.sizes[l])}, "zeta");
  require(in.letters["S"] >= 1, "there must be a sample");
  return zeta;
}

// zeta_l[s, n] of every layer
vector<Numbers> noise_of(const vector<Array>& zeta, size_t s, size_t n) {
  vector<Numbers> noise;
  for (const Array& array : zeta) noise.push_back(row_of(array, s * array.shape[1] + n));
  return noise;
}

Outputs mlp(Inputs& in) {
  Net net = read_net(in);
  Array theta = in.array("theta", {"S", "D"}), inputs = in.array("inputs", {"N", "I"});
  Array result = {{theta.shape[0], inputs.shape[0], net.sizes.back()}, {}};
  for (size_t s = 0; s < theta.shape[0]; ++s)
    for (size_t n = 0; n < inputs.shape[0]; ++n)
      extend(result.data, network(net, row_of(theta, s), row_of(inputs, n)).h.back());
  return alone(result);
}

Outputs sample_weights(Inputs& in) {
  Numbers mu = in.array("mu", {"D"}).data, sigma = mapped(in.array("rho", {"D"}, RHO).data, softplus);
  Array eps = in.array("eps", {"S", "D"});
  require(eps.shape[0] >= 1, "there must be a sample");
  Array result = {eps.shape, {}};
  for (size_t s = 0; s < eps.shape[0]; ++s) extend(result.data, sampled(mu, sigma, row_of(eps, s)));
  return alone(result);
}

Outputs mlp_local(Inputs& in) {
  Net net = read_net(in);
  Numbers mu = in.array("mu", {"D"}).data, sigma = mapped(in.array("rho", {"D"}, RHO).data, softplus);
  Array inputs = in.array("inputs", {"N", "I"});
  vector<Array> zeta = read_zeta(in, net);
  Array result = {{in.letters["S"], inputs.shape[0], net.sizes.back()}, {}};
  for (size_t s = 0; s < result.shape[0]; ++s)
    for (size_t n = 0; n < inputs.shape[0]; ++n) {
      Pass pass = local_network(net, mu, mapped(sigma, square), row_of(inputs, n), noise_of(zeta, s, n));
      extend(result.data, pass.h.back());
    }
  return alone(result);
}

// ---------------------------------------------------------------------------------------- likelihood
// One sigma for each output, also if a number is given.
Numbers read_likelihood_sigma(Inputs& in) {
  Array sigma = in.array("likelihood_sigma", POSITIVE);
  if (sigma.shape.empty()) return Numbers(in.letters["O"], sigma.data[0]);
  in.match(sigma.shape, {"O"}, "likelihood_sigma");
  return sigma.data;
}

// sum over o of log N(y[o]; z[o], sigma_l[o])
double log_density(const Numbers& y, const Numbers& z, const Numbers& sigma) {
  double total = 0;
  for (size_t o = 0; o < y.size(); ++o) total += log_normal(y[o], z[o], sigma[o]);
  return total;
}

Outputs normal_log_density(Inputs& in) {
  Array x = in.array("x", FINITE), m = in.array("mean", FINITE), s = in.array("sigma", POSITIVE);
  Array result = zeros(broadcast(broadcast(x.shape, m.shape), s.shape));
  for (size_t k = 0; k < result.data.size(); ++k) {
    double at = x.data[source(x.shape, result.shape, k)], center = m.data[source(m.shape, result.shape, k)];
    result.data[k] = log_normal(at, center, s.data[source(s.shape, result.shape, k)]);
  }
  return alone(result);
}

Outputs log_likelihood(Inputs& in) {
  Array outputs = in.array("outputs", {"S", "N", "O"}), targets = in.array("targets", {"N", "O"});
  Numbers sigma = read_likelihood_sigma(in);
  Array result = zeros({outputs.shape[0], outputs.shape[1]});
  for (size_t k = 0; k < result.data.size(); ++k)
    result.data[k] = log_density(row_of(targets, k % result.shape[1]), row_of(outputs, k), sigma);
  return alone(result);
}

// --------------------------------------------------------------------------------- the Bayesian model
// The weights' distribution, the rows and the noise, with what follows from (mu, rho).
struct Model {
  Net net;
  Numbers mu, rho;
  Array inputs, targets, eps;
  vector<Array> zeta;
  Numbers likelihood_sigma;
  bool local;
  size_t N, S;
  Numbers sigma, slope, variance;  // softplus(rho), sigmoid(rho), sigma^2
  vector<Numbers> theta;           // mu + sigma*eps_s
};

void prepare(Model& m) {
  m.sigma = mapped(m.rho, softplus);
  m.slope = mapped(m.rho, sigmoid);
  m.variance = mapped(m.sigma, square);
  m.theta.clear();
  for (size_t s = 0; !m.local && s < m.S; ++s) m.theta.push_back(sampled(m.mu, m.sigma, row_of(m.eps, s)));
}

Model read_model(Inputs& in, bool local, const string& rows = "N") {
  Model m;
  m.local = local;
  m.net = read_net(in);
  m.mu = in.array("mu", {"D"}).data;
  m.rho = in.array("rho", {"D"}, RHO).data;
  m.inputs = in.array("inputs", {rows, "I"});
  m.targets = in.array("targets", {rows, "O"});
  m.N = in.letters["N"] = m.inputs.shape[0];
  require(m.N >= 1, "there must be a row");
  if (local) m.zeta = read_zeta(in, m.net);
  else m.eps = in.array("eps", {"S", "D"});
  m.S = in.letters["S"];
  require(m.S >= 1, "there must be a sample");
  m.likelihood_sigma = read_likelihood_sigma(in);
  prepare(m);
  return m;
}

Pass forward(const Model& m, size_t s, size_t n) {
  Numbers x = row_of(m.inputs, n);
  if (m.local) return local_network(m.net, m.mu, m.variance, x, noise_of(m.zeta, s, n));
  return network(m.net, m.theta[s], x);
}

double sample_log_density(const Model& m, size_t s, size_t n) {
  return log_density(row_of(m.targets, n), forward(m, s, n).h.back(), m.likelihood_sigma);
}

// Adds the gradient of sum over o of log N(y[n, o]; z[s, n, o], sigma_l[o]) in mu and rho.
void add_gradient(const Model& m, size_t s, size_t n, Numbers& grad_mu, Numbers& grad_rho) {
  Pass pass = forward(m, s, n);
  Numbers delta = row_of(m.targets, n), g(m.mu.size(), 0.0), g_variance(m.mu.size(), 0.0);
  for (size_t o = 0; o < delta.size(); ++o)
    delta[o] = (delta[o] - pass.h.back()[o]) / m.likelihood_sigma[o] / m.likelihood_sigma[o];
  if (m.local) local_backward(m.net, m.mu, m.variance, pass, noise_of(m.zeta, s, n), delta, g, g_variance);
  else backward(m.net, m.theta[s], pass, delta, g);
  for (size_t i = 0; i < g.size(); ++i) {
    grad_mu[i] += g[i];
    grad_rho[i] += (m.local ? g_variance[i] * 2 * m.sigma[i] : g[i] * m.eps(s, i)) * m.slope[i];
  }
}

// The gradient of fit_n: the mean over the samples.
void fit_gradient(const Model& m, size_t n, Numbers& grad_mu, Numbers& grad_rho) {
  grad_mu.assign(m.mu.size(), 0.0);
  grad_rho.assign(m.mu.size(), 0.0);
  for (size_t s = 0; s < m.S; ++s) add_gradient(m, s, n, grad_mu, grad_rho);
  for (double& g : grad_mu) g /= m.S;
  for (double& g : grad_rho) g /= m.S;
}

// max + log(sum of e^(l - max)) - log S
Outputs predictive_log_density(Inputs& in) {
  Model m = read_model(in, false);
  return each_row(m.N, [&](size_t n) {
    Numbers l;
    for (size_t s = 0; s < m.S; ++s) l.push_back(sample_log_density(m, s, n));
    return largest(l) + std::log(sum_of_exponentials(l)) - std::log((double)m.S);
  });
}

// bound = (num_data/B)*sum over n of (1/S)*sum over s of log N - KL
Outputs elbo(Inputs& in, bool local) {
  Model m = read_model(in, local);
  Numbers prior_mu = in.array("prior_mu", {"D"}).data, prior_rho = in.array("prior_rho", {"D"}, RHO).data;
  double num_data = in.number("num_data", POSITIVE), evidence = 0;
  for (size_t n = 0; n < m.N; ++n)
    for (size_t s = 0; s < m.S; ++s) evidence += sample_log_density(m, s, n);
  evidence *= num_data / m.N / m.S;
  return alone(evidence - kl_of_rho(m.mu, m.rho, prior_mu, prior_rho));
}

Outputs elbo_grad(Inputs& in, bool local) {
  Model m = read_model(in, local);
  Numbers prior_mu = in.array("prior_mu", {"D"}).data, prior_rho = in.array("prior_rho", {"D"}, RHO).data;
  double scale = in.number("num_data", POSITIVE) / m.N / m.S;
  Numbers grad_mu(m.mu.size(), 0.0), grad_rho(m.mu.size(), 0.0);
  for (size_t n = 0; n < m.N; ++n)
    for (size_t s = 0; s < m.S; ++s) add_gradient(m, s, n, grad_mu, grad_rho);
  for (size_t i = 0; i < grad_mu.size(); ++i) {
    grad_mu[i] = scale * grad_mu[i] - kl_slope_mu(m.mu[i], prior_mu[i], prior_rho[i]);
    grad_rho[i] = scale * grad_rho[i] - kl_slope_rho(m.rho[i], prior_rho[i]);
  }
  Shape shape = {grad_mu.size()};
  return {{"grad_mu", Array{shape, grad_mu}}, {"grad_rho", Array{shape, grad_rho}}};
}

// The moves -lambda*g_mu/h_mu and -lambda*g_rho/h_rho of row n; g is minus the gradient of fit_n.
void newton_moves(const Model& m, size_t n, double step_size, Numbers& move_mu, Numbers& move_rho) {
  fit_gradient(m, n, move_mu, move_rho);
  for (size_t i = 0; i < move_mu.size(); ++i) {
    move_mu[i] *= step_size * square(m.sigma[i]);
    move_rho[i] *= step_size * 0.5 * square(m.sigma[i] / m.slope[i]);
  }
}

// Half the sum of h_mu*move_mu^2 + h_rho*move_rho^2
double taylor_gain(const Model& m, const Numbers& move_mu, const Numbers& move_rho) {
  double total = 0;
  for (size_t i = 0; i < move_mu.size(); ++i)
    total += square(move_mu[i] / m.sigma[i]) + 2 * square(move_rho[i] * m.slope[i] / m.sigma[i]);
  return 0.5 * total;
}

Numbers moved(Numbers from, const Numbers& move) {
  for (size_t i = 0; i < from.size(); ++i) from[i] += move[i];
  return from;
}

// The vectors' gain is that of mu' and rho' rounded to double, not that of the moves themselves.
Outputs information_gains(Inputs& in, bool local) {
  Model m = read_model(in, local);
  double step_size = in.number("step_size", POSITIVE);
  bool exact = in.text("method", "taylor", "exact") == "exact";
  return each_row(m.N, [&](size_t n) {
    Numbers move_mu, move_rho;
    newton_moves(m, n, step_size, move_mu, move_rho);
    if (!exact) return taylor_gain(m, move_mu, move_rho);
    return kl_of_rho(moved(m.mu, move_mu), moved(m.rho, move_rho), m.mu, m.rho);
  });
}

Outputs posterior_step(Inputs& in, bool local) {
  Model m = read_model(in, local, "1");
  double step_size = in.number("step_size", POSITIVE);
  Numbers move_mu, move_rho;
  newton_moves(m, 0, step_size, move_mu, move_rho);
  Shape shape = {m.mu.size()};
  return {{"mu", Array{shape, moved(m.mu, move_mu)}}, {"rho", Array{shape, moved(m.rho, move_rho)}}};
}

// One gradient step of the loss KL(mu, rho, mu_0, rho_0) - fit_n.
void descend(Model& m, size_t n, double learning_rate, const Numbers& mu_0, const Numbers& rho_0) {
  Numbers grad_mu, grad_rho;
  fit_gradient(m, n, grad_mu, grad_rho);
  for (size_t i = 0; i < mu_0.size(); ++i) {
    double slope_mu = kl_slope_mu(m.mu[i], mu_0[i], rho_0[i]) - grad_mu[i];
    double slope_rho = kl_slope_rho(m.rho[i], rho_0[i]) - grad_rho[i];
    m.mu[i] -= learning_rate * slope_mu;
    m.rho[i] -= learning_rate * slope_rho;
  }
  prepare(m);
}

Outputs posterior_updates(Inputs& in) {
  Model m = read_model(in, false);
  double num_steps = in.whole("num_steps", 1), learning_rate = in.number("learning_rate", POSITIVE);
  const Numbers mu_0 = m.mu, rho_0 = m.rho;
  Array mu = {{m.N, mu_0.size()}, {}}, rho = mu;
  for (size_t n = 0; n < m.N; ++n) {
    m.mu = mu_0;
    m.rho = rho_0;
    prepare(m);
    for (double step = 0; step < num_steps; ++step) descend(m, n, learning_rate, mu_0, rho_0);
    extend(mu.data, m.mu);
    extend(rho.data, m.rho);
  }
  return {{"mu", mu}, {"rho", rho}};
}

// ------------------------------------------------------------------------------- rewards and returns
double median(Numbers numbers) {
  std::sort(numbers.begin(), numbers.end());
  size_t half = numbers.size() / 2;
  if (numbers.size() % 2) return numbers[half];
  return (numbers[half - 1] + numbers[half]) / 2;
}

Numbers last_of(const Numbers& numbers, double window) {
  if ((double)numbers.size() <= window) return numbers;
  return Numbers(numbers.end() - (long)window, numbers.end());
}

Outputs normalize_gains(Inputs& in) {
  Array gains = in.array("gains", {"N"}, NOT_NEGATIVE);
  Numbers history = in.array("history", {"k"}, NOT_NEGATIVE).data, new_history = history;
  double window = in.whole("window", 1);
  bool by_median = in.text("statistic", "median", "mean") == "median";
  bool include_current = in.flag("include_current");
  require(!gains.data.empty(), "there must be a gain");
  double current = by_median ? median(gains.data) : mean(gains.data);
  if (current == 0) current = mean(gains.data);
  if (current != 0) new_history.push_back(current);
  new_history = last_of(new_history, window);
  Numbers used = include_current ? new_history : last_of(history, window);
  double divisor = used.empty() || mean(used) == 0 ? 1 : mean(used);
  for (double& gain : gains.data) gain /= divisor;
  return {{"gains", gains}, {"history", Array{{new_history.size()}, new_history}}};
}

Outputs curious_rewards(Inputs& in) {
  Array rewards = in.array("rewards", {"T"}), gains = in.array("gains", {"T"});
  double eta = in.number("eta", NOT_NEGATIVE);
  for (size_t t = 0; t < rewards.data.size(); ++t) rewards.data[t] += eta * gains.data[t];
  return alone(rewards);
}

// R_t = rewards_t + gamma*R_{t+1}
Outputs discounted_returns(Inputs& in) {
  Array returns = in.array("rewards", {"T"});
  double gamma = in.number("gamma", PROBABILITY), next = in.number("last_value");
  for (size_t t = returns.data.size(); t-- > 0;) next = returns.data[t] += gamma * next;
  return alone(returns);
}

// A_t = delta_t + gamma*lam*A_{t+1}, cut behind the end of an episode
Outputs gae_advantages(Inputs& in) {
  Numbers rewards = in.array("rewards", {"T"}).data, values = in.array("values", {"T"}).data;
  Numbers next_values = in.array("next_values", {"T"}).data;
  Array terminated = in.flags("terminated"), truncated = in.flags("truncated");
  in.match(terminated.shape, {"T"}, "terminated");
  in.match(truncated.shape, {"T"}, "truncated");
  double gamma = in.number("gamma", PROBABILITY), lam = in.number("lam", PROBABILITY), next = 0;
  Numbers advantages(rewards.size());
  for (size_t t = rewards.size(); t-- > 0;) {
    double delta = rewards[t] + (terminated.data[t] ? 0 : gamma * next_values[t]) - values[t];
    advantages[t] = next = delta + (terminated.data[t] || truncated.data[t] ? 0 : gamma * lam * next);
  }
  return alone(advantages);
}

// R_t = rewards_t + gamma*C_t, C_t = 0 if terminated, else V_t if truncated or last, else R_{t+1}
Array n_step(const Inputs& in, const Array& rewards, const Numbers& next_values) {
  Array flags[2] = {in.flags("terminated"), in.flags("truncated")};
  double gamma = in.number("gamma", PROBABILITY);
  for (const Array& f : flags) {
    bool axes = !f.shape.empty() && f.shape.size() <= rewards.shape.size();
    require(axes && std::equal(f.shape.begin(), f.shape.end(), rewards.shape.begin()),
            "flags must have the first axes of rewards");
  }
  Array returns = rewards;
  size_t size = rewards.data.size(), row = size / rewards.shape[0];
  for (size_t k = size; k-- > 0;) {
    bool terminated = flags[0].data[k / (size / flags[0].data.size())] != 0;
    bool truncated = flags[1].data[k / (size / flags[1].data.size())] != 0;
    double later = truncated || k + row >= size ? next_values[k] : returns.data[k + row];
    returns.data[k] += terminated ? 0 : gamma * later;
  }
  return returns;
}

Array read_rewards(const Inputs& in) {
  Array rewards = in.array("rewards", FINITE);
  require(!rewards.shape.empty() && rewards.shape[0] >= 1, "rewards must be (T, ...), T >= 1");
  return rewards;
}

Outputs n_step_returns(Inputs& in) {
  Array rewards = read_rewards(in), next_values = in.array("next_values", FINITE);
  require(next_values.shape == rewards.shape, "next_values must have the shape of rewards");
  return alone(n_step(in, rewards, next_values.data));
}

// The number A of entries along the last axis, which comes after the axes `before`.
size_t read_actions_axis(Array& array, const Shape& before, const string& name) {
  complete(array.shape, before.size() + 1);
  bool axes = array.shape.size() == before.size() + 1;
  axes = axes && std::equal(before.begin(), before.end(), array.shape.begin());
  require(axes, name + " must have the other input's axes, then an axis of actions");
  require(array.shape.back() >= 1, "there must be an action");
  return array.shape.back();
}

Outputs n_step_q_targets(Inputs& in) {
  Array rewards = read_rewards(in), next_q_values = in.array("next_q_values", FINITE);
  read_actions_axis(next_q_values, rewards.shape, "next_q_values");
  Numbers next_values;
  for (size_t k = 0; k < rewards.data.size(); ++k) next_values.push_back(largest(row_of(next_q_values, k)));
  return alone(n_step(in, rewards, next_values));
}

// ------------------------------------------------------------------------------------------- policies
struct Gaussian {
  Array mean;
  Numbers log_std;
};

Gaussian read_gaussian(Inputs& in, const string& mean, const string& log_std) {
  Gaussian policy = {in.array(mean, {"N", "A"}), in.array(log_std, {"A"}, LOG_STD).data};
  require(in.letters["N"] >= 1 && in.letters["A"] >= 1, "there must be a row and an action");
  return policy;
}

// sum over a of log N(actions; mean, e^log_std)
Outputs gaussian_log_prob(Inputs& in) {
  Gaussian policy = read_gaussian(in, "mean", "log_std");
  Array actions = in.array("actions", {"N", "A"});
  Numbers result(actions.shape[0], 0.0);
  for (size_t n = 0; n < result.size(); ++n)
    for (size_t a = 0; a < policy.log_std.size(); ++a) {
      double z = (actions(n, a) - policy.mean(n, a)) / std::exp(policy.log_std[a]);
      result[n] += -0.5 * LOG_2PI - policy.log_std[a] - 0.5 * z * z;
    }
  return alone(result);
}

Outputs gaussian_entropy(Inputs& in) {
  Gaussian policy = read_gaussian(in, "mean", "log_std");
  double entropy = 0;
  for (double log_std : policy.log_std) entropy += 0.5 * (LOG_2PI + 1) + log_std;
  return alone(Numbers(policy.mean.shape[0], entropy));
}

// The KL with r = (sigma_q/sigma_p)^2 - 1 = e^(2l) - 1, l = log_std_old - log_std_new.
Outputs gaussian_kl(Inputs& in) {
  Gaussian q = read_gaussian(in, "mean_old", "log_std_old"), p = read_gaussian(in, "mean_new", "log_std_new");
  Numbers result(q.mean.shape[0], 0.0);
  for (size_t n = 0; n < result.size(); ++n)
    for (size_t a = 0; a < q.log_std.size(); ++a) {
      double log_ratio = q.log_std[a] - p.log_std[a];
      double shift = (q.mean(n, a) - p.mean(n, a)) / std::exp(p.log_std[a]);
      result[n] += 0.5 * (excess(std::expm1(2 * log_ratio), log_ratio) + square(shift));
    }
  return alone(result);
}

// log p = logits - m - log sum e^(logits - m), m the largest
Numbers log_softmax(Numbers logits) {
  double top = largest(logits), log_total = std::log(sum_of_exponentials(logits));
  for (double& x : logits) x = x - top - log_total;
  return logits;
}

Array read_logits(Inputs& in, const string& name) {
  Array logits = in.array(name, {"N", "A"});
  require(logits.shape[0] == 0 || logits.shape[1] >= 1, "there must be an action");
  return logits;
}

Outputs categorical_log_prob(Inputs& in) {
  Array logits = read_logits(in, "logits");
  vector<size_t> actions = in.indices("actions", {"N"}, logits.shape[1]);
  return each_row(actions.size(), [&](size_t n) { return log_softmax(row_of(logits, n))[actions[n]]; });
}

Outputs categorical_entropy(Inputs& in) {
  Array logits = read_logits(in, "logits");
  return each_row(logits.shape[0], [&](size_t n) {
    double entropy = 0;
    for (double log_p : log_softmax(row_of(logits, n))) entropy -= std::exp(log_p) * log_p;
    return entropy;
  });
}

Outputs categorical_kl(Inputs& in) {
  Array logits_old = read_logits(in, "logits_old"), logits_new = read_logits(in, "logits_new");
  Numbers result(logits_old.shape[0], 0.0);
  for (size_t n = 0; n < result.size(); ++n) {
    Numbers p = log_softmax(row_of(logits_old, n)), q = log_softmax(row_of(logits_new, n));
    for (size_t a = 0; a < p.size(); ++a) result[n] += std::exp(p[a]) * (p[a] - q[a]);
  }
  return alone(result);
}

// --------------------------------------------------------------------------------------------- replay
void append(Array& rows, const Array& from, size_t begin, size_t end) {
  rows.shape[0] += end - begin;
  rows.data.insert(rows.data.end(), from.data.begin() + begin * rows.shape[1],
                   from.data.begin() + end * rows.shape[1]);
}

Outputs replay_transitions(Inputs& in) {
  vector<Array> observations = in.arrays("observations"), actions = in.arrays("actions");
  require(!observations.empty(), "there must be an episode");
  require(actions.size() == observations.size(), "there must be actions for each episode");
  for (size_t e = 0; e < actions.size(); ++e) {
    string T = "T of episode " + std::to_string(e);
    in.match(actions[e].shape, {T, "A"}, "actions");
    in.match(observations[e].shape, {std::to_string(in.letters[T] + 1), "K"}, "observations");
  }
  Array before = {{0, in.letters["K"]}, {}}, after = before, taken = {{0, in.letters["A"]}, {}};
  for (size_t e = 0; e < actions.size(); ++e) {
    size_t T = actions[e].shape[0];
    append(before, observations[e], 0, T);
    append(taken, actions[e], 0, T);
    append(after, observations[e], 1, T + 1);
  }
  return {{"observations", before}, {"actions", taken}, {"next_observations", after}};
}

// sqrt of the mean of d^2, scaled by the largest |d| so that no square overflows
double root_mean_square(const Numbers& d) {
  double size = largest_size(d), total = 0;
  if (size == 0) return 0;
  for (double x : d) total += square(x / size);
  return size * std::sqrt(total / d.size());
}

Outputs input_statistics(Inputs& in) {
  Array rows = in.array("rows", {"N", "K"});
  require(rows.shape[0] >= 1, "there must be a row");
  Array center = zeros({rows.shape[1]}), scale = center;
  for (size_t k = 0; k < rows.shape[1]; ++k) {
    Numbers column;
    for (size_t n = 0; n < rows.shape[0]; ++n) column.push_back(rows(n, k));
    double tiny = 1e-12 * largest_size(column);
    center.data[k] = mean(column);
    for (double& x : column) x -= center.data[k];
    scale.data[k] = root_mean_square(column);
    if (scale.data[k] <= tiny) scale.data[k] = 1;
  }
  return {{"center", center}, {"scale", scale}};
}

// --------------------------------------------------------------------------------------------- counts
// (1 - e^after)*e^-PG/(1 - e^-PG), PG = after - before
double pseudo_count(double before, double after) {
  double gain = after - before;
  if (!(gain > 0)) return INFINITE;
  return -std::expm1(after) * std::exp(-gain) / -std::expm1(-gain);
}

Outputs pseudo_count_operation(Inputs& in) {
  Array log_prob = in.array("log_prob", NOT_NAN), after = in.array("log_prob_after", FINITE), counts = after;
  require(log_prob.shape == after.shape, "both must have the same shape");
  for (size_t i = 0; i < after.data.size(); ++i) {
    require(log_prob.data[i] <= 0 && after.data[i] <= 0, "log probabilities must be <= 0");
    counts.data[i] = pseudo_count(log_prob.data[i], after.data[i]);
  }
  return alone(counts);
}

// 1/(e^x - 1) = e^-x/(1 - e^-x), x = c*PG/sqrt(num_seen)
Outputs pixel_cnn_pseudo_count(Inputs& in) {
  double root = std::sqrt(in.whole("num_seen", 1)), c = in.number("c", POSITIVE);
  return each(in.array("gain", NOT_NAN), [root, c](double gain) {
    double x = c * gain / root;
    return x > 0 ? std::exp(-x) / -std::expm1(-x) : INFINITE;
  });
}

Outputs count_bonus(Inputs& in) {
  double beta = in.number("beta", POSITIVE);
  return each(in.array("counts", NOT_NAN), [beta](double count) {
    require(count >= 0, "counts must be >= 0");
    return beta / std::sqrt(count + 0.01);
  });
}

// ------------------------------------------------------------------------------------------- densities
// sum over p of log((counts[p, observation_p] + alpha)/(n + K*alpha))
Outputs dirichlet_log_prob(Inputs& in) {
  Array counts = in.array("counts", {"P", "K"}, NOT_NEGATIVE);
  double alpha = in.number("alpha", NOT_NEGATIVE), K = counts.shape[1], total = 0;
  vector<size_t> observation = in.indices("observation", {"P"}, K);
  require(alpha == 0 || (alpha >= 1e-100 && alpha <= 1e100), "alpha must be 0, or from 1e-100 to 1e100");
  require(!observation.empty(), "there must be a pixel");
  double n = sum(row_of(counts, 0));
  require(alpha > 0 || n > 0, "alpha must be > 0 before the first");
  for (double count : counts.data) require(count < 9007199254740992.0, "counts must be below 2^53");
  for (size_t p = 0; p < observation.size(); ++p) {
    require(sum(row_of(counts, p)) == n, "each pixel must have been seen as often");
    total += std::log((counts(p, observation[p]) + alpha) / (n + K * alpha));
  }
  return alone(total);
}

Outputs dirichlet_pseudo_counts(Inputs& in) {
  double K = in.whole("num_symbols", 1), alpha = in.number("alpha", POSITIVE);
  require(alpha >= 1e-100 && alpha <= 1e100, "alpha must be from 1e-100 to 1e100");
  vector<size_t> symbols = in.indices("symbols", {"T", "P"}, K);
  size_t T = in.letters["T"], P = in.letters["P"];
  vector<std::map<size_t, double>> counts(P);
  Numbers result;
  for (size_t t = 0; t < T; ++t) {
    double log_before = 0, log_after = 0;
    for (size_t p = 0; p < P; ++p) {
      double& count = counts[p][symbols[t * P + p]];
      log_before += std::log((count + alpha) / (t + K * alpha));
      log_after += std::log((count + 1 + alpha) / (t + 1 + K * alpha));
      count += 1;
    }
    result.push_back(pseudo_count(log_before, log_after));
  }
  return alone(result);
}

// A node of a context tree: the counts of the symbols, the weights, and a child for each next symbol.
struct Node {
  std::map<size_t, double> counts;
  double total = 0, stay = 0.5, split = 0.5;
  std::map<size_t, std::unique_ptr<Node>> children;
};

vector<Node*> path_of(Node& root, const vector<size_t>& context) {
  vector<Node*> path = {&root};
  for (size_t symbol : context) {
    std::unique_ptr<Node>& child = path.back()->children[symbol];
    if (!child) child.reset(new Node());
    path.push_back(child.get());
  }
  return path;
}

// log P(x), then learns x with the switching rate a.
double score_and_learn(Node& root, const vector<size_t>& context, size_t x, double K, double a) {
  vector<Node*> path = path_of(root, context);
  Numbers own, below;
  for (Node* node : path) own.push_back((node->counts[x] + 0.5) / (node->total + K / 2));
  below = own;
  for (size_t j = path.size() - 1; j-- > 0;)
    below[j] = path[j]->stay * own[j] + path[j]->split * below[j + 1];
  for (size_t j = 0; j + 1 < path.size(); ++j) {
    double stay = path[j]->stay * own[j], split = path[j]->split * below[j + 1];
    path[j]->stay = ((1 - a) * stay + a * split) / below[j];
    path[j]->split = ((1 - a) * split + a * stay) / below[j];
  }
  for (Node* node : path) {
    node->counts[x] += 1;
    node->total += 1;
  }
  return std::log(below[0]);
}

// The rate, or -1 for null.
double read_rate(const Inputs& in) {
  if (in.is_null("rate")) return -1;
  double rate = in.number("rate");
  require(rate >= 0 && rate <= 0.5, "rate must be from 0 to 0.5");
  return rate;
}

Outputs cts_log_probs(Inputs& in) {
  vector<size_t> bits = in.indices("bits", {"T"}, 2), context((size_t)in.whole("depth", 0), 0);
  double rate = read_rate(in);
  Node root;
  Numbers result;
  for (size_t t = 1; t <= bits.size(); ++t) {
    for (size_t i = 1; i <= context.size(); ++i) context[i - 1] = i < t ? bits[t - 1 - i] : 0;
    result.push_back(score_and_learn(root, context, bits[t - 1], 2, rate < 0 ? 1.0 / (t + 1) : rate));
  }
  return alone(result);
}

// The pixels left, above, above left and above right; 0 beyond the border.
vector<size_t> neighbors(const size_t* image, size_t y, size_t x, size_t W) {
  const size_t* row = image + y * W;
  size_t left = x > 0 ? row[x - 1] : 0;
  if (y == 0) return {left, 0, 0, 0};
  const size_t* above = row - W;
  return {left, above[x], x > 0 ? above[x - 1] : 0, x + 1 < W ? above[x + 1] : 0};
}

Outputs image_cts_log_probs(Inputs& in) {
  double K = in.whole("num_levels", 2), rate = read_rate(in);
  vector<size_t> images = in.indices("images", {"T", "H", "W"}, K);
  size_t T = in.letters["T"], W = in.letters["W"], pixels = in.letters["H"] * W;
  vector<Node> roots(pixels);
  Numbers result(T, 0.0);
  for (size_t t = 0; t < T; ++t)
    for (size_t k = 0; k < pixels; ++k) {
      const size_t* image = &images[t * pixels];
      double a = rate < 0 ? 1.0 / (t + 2) : rate;
      result[t] += score_and_learn(roots[k], neighbors(image, k / W, k % W, W), image[k], K, a);
    }
  return alone(result);
}

// ------------------------------------------------------------------------------------------ strategies
Numbers read_values(Inputs& in, const string& name) {
  Numbers values = in.array(name, {"A"}).data;
  require(!values.empty(), "there must be an action");
  return values;
}

// epsilon/A, and (1 - epsilon)/m more for each of the m best
Outputs epsilon_greedy(Inputs& in) {
  Numbers q = read_values(in, "q_values");
  double epsilon = in.number("epsilon", PROBABILITY), best = largest(q);
  double m = std::count(q.begin(), q.end(), best);
  for (double& x : q) x = epsilon / q.size() + (x == best ? (1 - epsilon) / m : 0);
  return alone(q);
}

// e^((Q - max Q)/tau), normalized; without a temperature tau is the standard deviation of Q
Outputs boltzmann(Inputs& in) {
  Numbers q = read_values(in, "q_values");
  double best = largest(q), size = largest_size(q), temperature = 0, total = 0;
  double range = best - *std::min_element(q.begin(), q.end());
  for (double& x : q) x -= best;
  if (in.is_null("temperature")) {
    for (double& x : q) x = range > 0 ? x / range : 0;
    Numbers centered = q;
    for (double& x : centered) x -= mean(q);
    temperature = root_mean_square(centered);
    if (temperature * range <= 1e-12 * size) return alone(Numbers(q.size(), 1.0 / q.size()));
  } else {
    temperature = in.number("temperature", POSITIVE);
  }
  for (double& x : q) total += x = std::exp(x / temperature);
  for (double& x : q) x /= total;
  return alone(q);
}

Numbers read_counts(Inputs& in) {
  Numbers counts = in.array("counts", {"A"}, NOT_NEGATIVE).data;
  for (double n : counts) require(n == std::floor(n), "counts must be whole numbers");
  return counts;
}

// values + alpha*sqrt(2*ln N/counts), N the sum of counts
Numbers scores(Numbers values, const Numbers& counts, double alpha) {
  double N = sum(counts);
  for (size_t a = 0; a < values.size(); ++a) {
    values[a] = counts[a] == 0 ? INFINITE : values[a] + alpha * std::sqrt(2 * std::log(N) / counts[a]);
    require(counts[a] == 0 || std::isfinite(values[a]), "a score overflows");
  }
  return values;
}

Outputs ucb1(Inputs& in) {
  Numbers means = read_values(in, "means"), counts = read_counts(in);
  require(in.whole("t", 0) == sum(counts), "t must be the sum of counts");
  return alone(scores(means, counts, 1));
}

Outputs ucb_state_action(Inputs& in) {
  Numbers q_values = read_values(in, "q_values"), counts = read_counts(in);
  return alone(scores(q_values, counts, in.number("alpha", NOT_NEGATIVE)));
}

// value + learning_rate*(reward + gamma*max next - value)
Outputs q_update(Inputs& in) {
  Numbers next_values = read_values(in, "next_values");
  double value = in.number("value"), reward = in.number("reward"), gamma = in.number("gamma", PROBABILITY);
  double learning_rate = in.number("learning_rate", POSITIVE);
  require(learning_rate <= 1, "learning_rate must be > 0 and <= 1");
  bool terminated = in.flag("terminated");
  in.flag("truncated");
  double target = reward + gamma * (terminated ? 0 : largest(next_values));
  return alone(value + learning_rate * (target - value));
}

// ---------------------------------------------------------------------------------------------- UNREAL
// the mean change of the pixels of each cell, over all channels
Outputs pixel_control_rewards(Inputs& in) {
  Array o = in.array("observations", {"T + 1", "H", "W", "C"});
  size_t H = in.letters["H"], W = in.letters["W"], C = in.letters["C"];
  require(o.shape[0] >= 2, "there must be a step");
  require(H >= 1 && W >= 1 && C >= 1, "there must be a pixel and a channel");
  double size = in.whole("cell_size", 1);
  require(std::fmod((double)H, size) == 0, "the height must be a multiple of cell_size");
  require(std::fmod((double)W, size) == 0, "the width must be a multiple of cell_size");
  size_t c = (size_t)size, image = H * W * C;
  Array result = zeros({o.shape[0] - 1, H / c, W / c});
  for (size_t k = 0; k + image < o.data.size(); ++k) {
    size_t t = k / image, y = k / (W * C) % H, x = k / C % W;
    result.data[(t * (H / c) + y / c) * (W / c) + x / c] += std::fabs(o.data[k + image] - o.data[k]);
  }
  for (double& r : result.data) r /= c * c * C;
  return alone(result);
}

Outputs feature_control_rewards(Inputs& in) {
  Array activations = in.array("activations", {"T + 1", "G"});
  require(activations.shape[0] >= 2, "there must be a step");
  activations.shape[0] -= 1;
  activations.data.erase(activations.data.begin(), activations.data.begin() + activations.shape[1]);
  return alone(activations);
}

// Q = V + advantage - mean advantage
Outputs dueling(Inputs& in) {
  Array values = in.array("values", FINITE), advantages = in.array("advantages", FINITE);
  size_t A = read_actions_axis(advantages, values.shape, "advantages");
  for (size_t k = 0; k < values.data.size(); ++k) {
    double center = mean(row_of(advantages, k));
    for (size_t a = 0; a < A; ++a) advantages.data[k * A + a] += values.data[k] - center;
  }
  return alone(advantages);
}

// (1/T)*sum over t and g of half the squared error of the action taken
Outputs control_loss(Inputs& in) {
  Array q = in.array("q_values", {"T", "G", "A"}), targets = in.array("targets", {"T", "G"});
  size_t T = in.letters["T"], G = in.letters["G"], A = in.letters["A"];
  require(T >= 1 && G >= 1 && A >= 1, "there must be a step, a control and an action");
  vector<size_t> actions = in.indices("actions", {"T"}, A);
  double loss = 0;
  for (size_t k = 0; k < T * G; ++k)
    loss += 0.5 * square(targets.data[k] - q.data[k * A + actions[k / G]]);
  return alone(loss / T);
}

Outputs reward_class(Inputs& in) {
  return each(in.array("rewards", FINITE), [](double reward) { return reward < 0 ? 0 : reward > 0 ? 2 : 1; });
}

// 1 where t >= 2 and neither of the two rows before ended
Array windows_of(const Array& ended) {
  Array result = zeros(ended.shape);
  size_t row = ended.shape[0] ? ended.data.size() / ended.shape[0] : 0;
  for (size_t k = 2 * row; k < ended.data.size(); ++k)
    result.data[k] = !ended.data[k - row] && !ended.data[k - 2 * row];
  return result;
}

Outputs reward_prediction_windows(Inputs& in) {
  Array ended = in.flags("ended");
  require(!ended.shape.empty(), "ended must have an axis of time");
  return alone(windows_of(ended));
}

Outputs sample_reward_windows(Inputs& in) {
  Array rewards = in.array("rewards", FINITE), ended = in.flags("ended");
  size_t axes = rewards.shape.size();
  require(axes == 1 || axes == 2, "rewards must be (T,) or (T, B)");
  require(ended.shape == rewards.shape, "there must be a flag for each reward");
  Numbers coins = in.array("coins", {"N"}, PROBABILITY).data;
  Numbers places = in.array("places", {"N"}, PROBABILITY).data;
  vector<size_t> rewarded, others;
  Array windows = windows_of(ended), result = {{0, axes}, {}};
  for (size_t k = 0; k < windows.data.size(); ++k)
    if (windows.data[k]) (rewards.data[k] != 0 ? rewarded : others).push_back(k);
  for (size_t n = 0; n < coins.size(); ++n) {
    require(coins[n] < 1 && places[n] < 1, "coins and places must be below 1");
    const vector<size_t>& kind = (coins[n] < 0.5 && !rewarded.empty()) || others.empty() ? rewarded : others;
    if (kind.empty()) continue;
    size_t k = kind[(size_t)std::floor(places[n] * kind.size())], B = axes == 2 ? rewards.shape[1] : 1;
    result.data.push_back(k / B);
    if (axes == 2) result.data.push_back(k % B);
    result.shape[0] += 1;
  }
  return alone(result);
}

// cell <- sigmoid(f)*cell + sigmoid(i)*tanh(g), hidden <- sigmoid(o)*tanh(cell)
Outputs lstm_step(Inputs& in) {
  Array weights = in.array("weights", {"H", "4H"}), gates = in.array("gate_inputs", {"B", "4H"});
  Array hidden = in.array("hidden", {"B", "H"}), cell = in.array("cell", {"B", "H"}), before = hidden;
  size_t H = in.letters["H"];
  for (size_t b = 0; b < gates.shape[0]; ++b) {
    double* gate = &gates.data[b * 4 * H];
    for (size_t k = 0; k < 4 * H; ++k)
      for (size_t j = 0; j < H; ++j) gate[k] += before(b, j) * weights(j, k);
    for (size_t j = 0; j < H; ++j) {
      double& c = cell.data[b * H + j];
      c = sigmoid(gate[H + j]) * c + sigmoid(gate[j]) * std::tanh(gate[3 * H + j]);
      hidden.data[b * H + j] = sigmoid(gate[2 * H + j]) * std::tanh(c);
    }
  }
  return {{"hidden", hidden}, {"cell", cell}};
}

// -------------------------------------------------------------------------------------------- protocol
struct Operation {
  Function run;
  bool may_be_infinite = false;
};

Function with(Outputs (*function)(Inputs&, bool), bool local) {
  return [function, local](Inputs& in) { return function(in, local); };
}

const std::map<string, Operation> OPERATIONS = {
    {"softplus", {softplus_operation}}, {"softplus_inverse", {softplus_inverse}},
    {"kl_diag_normal", {kl_diag_normal}}, {"kl_hessian_diag", {kl_hessian_diag}}, {"kl_taylor", {kl_taylor}},
    {"mlp", {mlp}}, {"sample_weights", {sample_weights}}, {"mlp_local", {mlp_local}},
    {"normal_log_density", {normal_log_density}}, {"log_likelihood", {log_likelihood}},
    {"predictive_log_density", {predictive_log_density}}, {"normalize_gains", {normalize_gains}},
    {"curious_rewards", {curious_rewards}}, {"discounted_returns", {discounted_returns}},
    {"gae_advantages", {gae_advantages}}, {"gaussian_log_prob", {gaussian_log_prob}},
    {"gaussian_entropy", {gaussian_entropy}}, {"gaussian_kl", {gaussian_kl}},
    {"categorical_log_prob", {categorical_log_prob}}, {"categorical_entropy", {categorical_entropy}},
    {"categorical_kl", {categorical_kl}}, {"replay_transitions", {replay_transitions}},
    {"input_statistics", {input_statistics}}, {"pseudo_count", {pseudo_count_operation, true}},
    {"pixel_cnn_pseudo_count", {pixel_cnn_pseudo_count, true}}, {"count_bonus", {count_bonus}},
    {"dirichlet_log_prob", {dirichlet_log_prob, true}},
    {"dirichlet_pseudo_counts", {dirichlet_pseudo_counts, true}}, {"cts_log_probs", {cts_log_probs}},
    {"image_cts_log_probs", {image_cts_log_probs}}, {"epsilon_greedy", {epsilon_greedy}},
    {"boltzmann", {boltzmann}}, {"ucb1", {ucb1, true}}, {"ucb_state_action", {ucb_state_action, true}},
    {"q_update", {q_update}}, {"elbo", {with(elbo, false)}}, {"elbo_local", {with(elbo, true)}},
    {"elbo_grad", {with(elbo_grad, false)}}, {"elbo_grad_local", {with(elbo_grad, true)}},
    {"information_gain", {information_gain}}, {"information_gains", {with(information_gains, false)}},
    {"information_gains_local", {with(information_gains, true)}},
    {"posterior_step", {with(posterior_step, false)}},
    {"posterior_step_local", {with(posterior_step, true)}}, {"posterior_updates", {posterior_updates}},
    {"pixel_control_rewards", {pixel_control_rewards}},
    {"feature_control_rewards", {feature_control_rewards}}, {"n_step_returns", {n_step_returns}},
    {"n_step_q_targets", {n_step_q_targets}}, {"dueling", {dueling}}, {"control_loss", {control_loss}},
    {"reward_class", {reward_class}}, {"reward_prediction_windows", {reward_prediction_windows}},
    {"sample_reward_windows", {sample_reward_windows}}, {"lstm_step", {lstm_step}}};

string result_of(const Operation& operation, const Json& inputs) {
  Inputs in(inputs);
  string text;
  for (const auto& output : operation.run(in)) {
    for (double x : output.second.data)
      require(std::isfinite(x) || (operation.may_be_infinite && !std::isnan(x)), "the result overflows");
    size_t next = 0;
    string array = written(output.second, 0, next);
    if (output.first.empty()) return array;
    text += string(text.empty() ? "{" : ", ") + "\"" + output.first + "\": " + array;
  }
  return text + "}";
}

string answer_to(Json& question) {
  if (question.members["cmd"].text == "start") return "\"ok\": true, \"implementation\": \"C++\"";
  auto found = OPERATIONS.find(question.members["operation"].text);
  if (found == OPERATIONS.end()) return "\"skipped\": \"this operation is not offered\"";
  try {
    return "\"result\": " + result_of(found->second, question.members["inputs"]);
  } catch (const Rejection& rejection) {
    return string("\"refused\": \"") + rejection.what() + "\"";
  } catch (const std::exception& error) {
    return string("\"error\": \"") + error.what() + "\"";
  }
}

int main() {
  string line;
  while (std::getline(std::cin, line)) {
    Json question = Reader(line).value();
    if (question.members["cmd"].text == "stop") break;
    string seq = written(question.members["seq"].number);
    std::cout << "{\"seq\": " + seq + ", " + answer_to(question) + "}" << std::endl;
  }
  return 0;
}
