#include "model/jinja_globals.h"

#include <array>
#include <ctime>

#include "model/jinja_limits.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

// cycler(a, b, ...): next() goes round and round.
class Cycler final : public Object {
 public:
  explicit Cycler(Items items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) const override;
  Value next() {
    const std::size_t at = position_;
    reset_to((position_ + 1) % items_.size());
    return items_[at];
  }
  void reset_to(std::size_t position) { position_ = position; }

 private:
  Items items_;
  std::size_t position_ = 0;
};

// joiner(sep): empty the first time, the separator afterwards.
class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime&, const Arguments& arguments) override {
    bind("joiner", arguments, {});
    return std::exchange(used_, true) ? separator_ : Value(std::string());
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value cycler_next(Runtime&, const Value& self, const Arguments& arguments) {
  bind("next", arguments, {});
  return static_cast<Cycler*>(self.as_object())->next();
}

Value cycler_reset(Runtime&, const Value& self, const Arguments& arguments) {
  bind("reset", arguments, {});
  static_cast<Cycler*>(self.as_object())->reset_to(0);
  return None{};
}

// An attribute that is a method of `object`, which attribute() itself sees as const.
Value bound(Runtime& runtime, std::string_view name, const Object* object, Function function) {
  return runtime.make<BoundFunction>(std::string(name), Value(const_cast<Object*>(object)),
                                     function);
}

std::optional<Value> Cycler::attribute(Runtime& runtime, std::string_view name) const {
  if (name == "next") return bound(runtime, name, this, cycler_next);
  if (name == "reset") return bound(runtime, name, this, cycler_reset);
  if (name == "current") return items_[position_];
  return std::nullopt;
}

Value loop_cycle(Runtime&, const Value& self, const Arguments& arguments) {
  return static_cast<Loop*>(self.as_object())->cycle(arguments);
}

Value loop_changed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return static_cast<Loop*>(self.as_object())->changed(runtime, arguments);
}

Value raise_exception(Runtime& runtime, const Value&, const Arguments& arguments) {
  const auto bound = bind("raise_exception", arguments, {"message"}, 1);
  throw RaisedException(to_text(runtime, *bound[0]));
}

Value strftime_now(Runtime& runtime, const Value&, const Arguments& arguments) {
  constexpr std::size_t kMaxBytes = 4096;
  const auto bound = bind("strftime_now", arguments, {"format"}, 1);
  const std::string& format = require_string(*bound[0], "strftime_now's format");
  if (format.find('\0') != std::string::npos) throw TemplateError("embedded null character");
  const std::time_t now = std::time(nullptr);
  std::tm local;
  localtime_r(&now, &local);
  // The mark tells an empty result from one that does not fit.
  std::array<char, kMaxBytes + 2> buffer;
  const std::size_t size =
      std::strftime(buffer.data(), buffer.size(), (format + "|").c_str(), &local);
  if (size == 0) {
    throw TemplateError("strftime_now's result exceeds " + std::to_string(kMaxBytes) + " bytes");
  }
  return runtime.text(std::string(buffer.data(), size - 1));
}

Value range(Runtime&, const Value&, const Arguments& arguments) {
  const auto bound = bind("range", arguments, {"", "", ""}, 1);
  Range range{0, 0, 1};
  if (bound[1]) {
    range.start = require_integer(*bound[0], "range()'s start");
    range.stop = require_integer(*bound[1], "range()'s stop");
    if (bound[2]) range.step = require_integer(*bound[2], "range()'s step");
  } else {
    range.stop = require_integer(*bound[0], "range()'s stop");
  }
  if (range.step == 0) throw TemplateError("range() arg 3 must not be zero");
  // In floating point first: the exact size of an extreme range does not fit in 64 bits.
  const double span = static_cast<double>(range.stop) - static_cast<double>(range.start);
  const double elements = span / static_cast<double>(range.step);
  if (elements > static_cast<double>(kMaxRange) + 1 || (elements > 0 && range.size() > kMaxRange)) {
    throw TemplateError("Range too big. The sandbox blocks ranges larger than the limit of " +
                        std::to_string(kMaxRange));
  }
  return elements > 0 ? Value::range(range) : Value::range({range.start, range.start, range.step});
}

// dict(mapping or pairs, **named).
Dict build_dict(Runtime& runtime, std::string_view function, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    throw TemplateError(std::string(function) + "() expected at most 1 argument");
  }
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_undefined()) fail_undefined(source);
    if (source.is_dict()) {
      dict = source.as_dict();
    } else {
      for (const Value& pair : iterate(runtime, source)) {
        Items parts = iterate(runtime, pair);
        if (parts.size() != 2) throw TemplateError("dictionary update needs pairs");
        runtime.charge(parts[0].weight());
        dict.set(std::move(parts[0]), std::move(parts[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value);
  return dict;
}

Value dict(Runtime& runtime, const Value&, const Arguments& arguments) {
  return runtime.dict(build_dict(runtime, "dict", arguments));
}

Value make_namespace(Runtime& runtime, const Value&, const Arguments& arguments) {
  return runtime.make<Namespace>(build_dict(runtime, "namespace", arguments));
}

Value make_cycler(Runtime& runtime, const Value&, const Arguments& arguments) {
  if (!arguments.named.empty()) throw TemplateError("cycler() takes no keyword arguments");
  if (arguments.positional.empty()) throw TemplateError("at least one item has to be provided");
  return runtime.make<Cycler>(arguments.positional);
}

Value make_joiner(Runtime& runtime, const Value&, const Arguments& arguments) {
  const auto bound = bind("joiner", arguments, {"sep"});
  return runtime.make<Joiner>(bound[0] ? *bound[0] : Value(std::string(", ")));
}

}  // namespace

std::string Namespace::representation(Runtime& runtime) const {
  const Runtime::Nested nested(runtime);
  if (printing_) return "<Namespace {...}>";
  printing_ = true;  // an exception ends the render, so it need not be reset after one
  const std::string attributes = to_repr(runtime, Value::dict(attributes_));
  printing_ = false;
  return "<Namespace " + attributes + ">";
}

std::optional<Value> Namespace::attribute(Runtime&, std::string_view name) const {
  const Value* found = attributes_.find(name);
  return found ? std::optional(*found) : std::nullopt;
}

void Namespace::set(std::string_view name, Value value) {
  attributes_.set(Value(std::string(name)), std::move(value));
}

std::string Loop::representation(Runtime&) const {
  return "<LoopContext " + std::to_string(index_ + 1) + "/" + std::to_string(length_) + ">";
}

void Loop::move_to(std::int64_t index, Value previous, Value next) {
  index_ = index;
  previous_ = std::move(previous);
  next_ = std::move(next);
}

std::optional<Value> Loop::attribute(Runtime& runtime, std::string_view name) const {
  if (name == "index") return index_ + 1;
  if (name == "index0") return index_;
  if (name == "first") return index_ == 0;
  if (name == "last") return index_ + 1 == length_;
  if (name == "length") return length_;
  if (name == "revindex") return length_ - index_;
  if (name == "revindex0") return length_ - index_ - 1;
  if (name == "previtem") return previous_;
  if (name == "nextitem") return next_;
  if (name == "depth") return std::int64_t{1};  // of recursive loops, which there are none of
  if (name == "depth0") return std::int64_t{0};
  if (name == "cycle") return bound(runtime, name, this, loop_cycle);
  if (name == "changed") return bound(runtime, name, this, loop_changed);
  return std::nullopt;
}

const Value& Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    throw TemplateError("no items for cycling given");
  }
  return arguments.positional[static_cast<std::size_t>(index_) % arguments.positional.size()];
}

bool Loop::changed(Runtime& runtime, const Arguments& arguments) {
  Value seen = runtime.tuple(arguments.positional);
  runtime.charge(seen.weight());
  const bool same = last_seen_ && equal(*last_seen_, seen);
  last_seen_ = std::move(seen);
  return !same;
}

std::vector<std::pair<std::string_view, Value>> make_globals(Runtime& runtime) {
  constexpr std::array<std::pair<std::string_view, Function>, 7> kGlobals = {{
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
      {"range", range},
      {"dict", dict},
      {"namespace", make_namespace},
      {"cycler", make_cycler},
      {"joiner", make_joiner},
  }};
  std::vector<std::pair<std::string_view, Value>> globals;
  for (const auto& [name, function] : kGlobals) {
    globals.emplace_back(name, runtime.make<BoundFunction>(std::string(name), Value(), function));
  }
  return globals;
}

}  // namespace lockstep::model::jinja
