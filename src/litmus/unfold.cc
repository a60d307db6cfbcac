#include "litmus/unfold.h"

#include <algorithm>
#include <set>
#include <utility>

#include "litmus/error.h"
#include "litmus/primitives.h"

namespace racewalk::litmus {
namespace {

constexpr std::size_t max_paths = 1 << 13;
constexpr std::size_t max_steps = 1 << 12; ///< of a path, fences included
constexpr std::size_t max_cost = 1 << 12;

/// The decisions of one path, replayed from the start for the next: depth first, in order.
class decisions {
 public:
  unsigned choose(unsigned options) {
    if (at_ == taken_.size()) taken_.push_back({0, options});
    return taken_[at_++].option;
  }

  /// Turns to the next path, or says that there is none.
  bool advance() {
    at_ = 0;
    while (!taken_.empty() && taken_.back().option + 1 == taken_.back().options)
      taken_.pop_back();
    if (taken_.empty()) return false;
    taken_.back().option++;
    return true;
  }

 private:
  struct decision {
    unsigned option, options;
  };
  std::vector<decision> taken_;
  std::size_t at_ = 0;
};

/// Locations that a pointer can point to: those whose address is used as a value somewhere.
class address_taken {
 public:
  explicit address_taken(const litmus_test& test) : test_(test) {
    for (const auto& [name, value] : test.initial_values)
      note(value);
    for (const auto& [item, value] : test.initial_registers)
      note(value);
    for (const process& p : test.processes)
      visit(p, p.body);
  }

  [[nodiscard]] std::vector<std::size_t> locations() const { return {found_.begin(), found_.end()}; }

 private:
  void note(value_t value) {
    if (const auto location = location_at(test_, value)) found_.insert(*location);
  }

  void visit(const process& p, const statement& s) {
    if (s.kind == statement_kind::assign && s.target.kind == expression_kind::deref)
      visit_pointer(p, s.target.operands[0]);
    visit(p, s.value);
    for (const statement& inner : s.body)
      visit(p, inner);
  }

  /// A name in the place of a pointer is followed at once; in any other place its value goes on.
  void visit_pointer(const process& p, const expression& e) {
    if (e.kind != expression_kind::name) visit(p, e);
  }

  void visit(const process& p, const expression& e) {
    if (e.kind == expression_kind::name && std::ranges::find(p.parameters, e.name) != p.parameters.end()) {
      const auto index = std::ranges::find(test_.locations, e.name) - test_.locations.begin();
      found_.insert(static_cast<std::size_t>(index));
    }
    if (e.kind == expression_kind::deref) {
      visit_pointer(p, e.operands[0]);
      return;
    }
    const auto known = e.kind == expression_kind::call ? find_primitive(e.name) : std::nullopt;
    const std::size_t pointer = known && known->pointer_is_last ? e.operands.size() - 1 : 0;
    for (std::size_t i = 0; i < e.operands.size(); i++) {
      if (known && i == pointer)
        visit_pointer(p, e.operands[i]);
      else
        visit(p, e.operands[i]);
    }
  }

  const litmus_test& test_;
  std::set<std::size_t> found_;
};

/// C does not say what these give for every right operand.
bool may_have_no_value(operation op) {
  return op == operation::div || op == operation::mod || op == operation::shift_left ||
         op == operation::shift_right;
}

/// A value and the reads it was computed from.
struct operand {
  expression_id value = 0;
  dependency_set from{};
};

/// Thrown where a path ends early.
struct path_ends {};

class path_builder {
 public:
  path_builder(const litmus_test& test, std::size_t number, const std::vector<std::size_t>& targets,
               decisions& choices)
      : test_(test), process_(test.processes[number]), number_(number), targets_(targets), choices_(choices) {
  }

  process_path run() {
    for (const auto& [item, value] : test_.initial_registers)
      if (item.process == static_cast<int>(number_)) registers_[item.name] = {path_.pool.constant(value)};
    try {
      execute(process_.body);
    } catch (const path_ends&) {
    }
    for (const auto& [name, value] : registers_)
      path_.registers[name] = value.value;
    return std::move(path_);
  }

 private:
  // ---- statements ----

  void execute(const statement& s) {
    switch (s.kind) {
    case statement_kind::block:
      for (const statement& inner : s.body)
        execute(inner);
      break;
    case statement_kind::assign:
      assign(s);
      break;
    case statement_kind::call:
      effect(s.value);
      break;
    case statement_kind::branch:
      branch(s);
      break;
    }
  }

  void assign(const statement& s) {
    if (s.target.kind == expression_kind::name) {
      registers_[s.target.name] = evaluate(s.value);
      return;
    }
    const place p = pointed_to(s.target.operands[0]);
    write(p, ordering::plain, evaluate(s.value));
  }

  void branch(const statement& s) {
    const dependency_set outer_touched = std::exchange(touched_, {});
    const operand condition = evaluate(s.value);
    const dependency_set outer_control = control_;
    control_ |= touched_;
    touched_ = outer_touched;
    const std::size_t arm = decide(condition.value) ? 0 : 1;
    if (arm < s.body.size()) execute(s.body[arm]);
    control_ = outer_control;
  }

  /// Which way a condition goes: both ways are tried, unless its value is known already.
  bool decide(expression_id condition) {
    if (const auto known = path_.pool.evaluate(condition, {})) return *known != 0;
    const bool truth = choices_.choose(2) == 0;
    path_.assumptions.push_back({condition, truth});
    return truth;
  }

  // ---- expressions ----

  operand evaluate(const expression& e) {
    switch (e.kind) {
    case expression_kind::constant:
      return {path_.pool.constant(e.value)};
    case expression_kind::name:
      return name(e);
    case expression_kind::deref:
      return read(pointed_to(e.operands[0]), ordering::plain);
    case expression_kind::binary:
      return binary(e);
    case expression_kind::call:
      break;
    }
    const auto result = call(e);
    if (!result) throw bad_test(e.line, e.name + "() has no value");
    return *result;
  }

  operand name(const expression& e) {
    const auto known = registers_.find(e.name);
    if (known != registers_.end()) {
      touched_ |= known->second.from;
      return known->second;
    }
    if (std::ranges::find(process_.parameters, e.name) == process_.parameters.end())
      return {path_.pool.constant(0)}; // a register that nothing was assigned to
    const auto index = std::ranges::find(test_.locations, e.name) - test_.locations.begin();
    return {path_.pool.constant(address_of(static_cast<std::size_t>(index)))};
  }

  operand binary(const expression& e) {
    const bool short_circuits = e.op == operation::logical_and || e.op == operation::logical_or;
    const operand left = evaluate(e.operands[0]);
    const std::size_t before = path_.events.size();
    const operand right = evaluate(e.operands[1]);
    if (short_circuits && path_.events.size() != before)
      throw unsupported(e.line, "a memory access that '&&' or '||' may skip");
    if (may_have_no_value(e.op)) {
      const auto by = path_.pool.evaluate(right.value, {});
      if (!by || !apply(e.op, 1, *by))
        throw unsupported(e.line, "division or shift by what may be no good number");
    }
    const operand result{path_.pool.binary(e.op, left.value, right.value), left.from | right.from};
    if (path_.pool.cost(result.value) > max_cost) throw unsupported(e.line, "so large a computation");
    return result;
  }

  void effect(const expression& e) {
    if (e.kind == expression_kind::call)
      call(e);
    else
      evaluate(e);
  }

  // ---- places ----

  struct place {
    std::size_t location = 0;
    dependency_set from{}; ///< reads that the address was computed from
  };

  place pointed_to(const expression& pointer) {
    const operand address = evaluate(pointer);
    if (const auto known = path_.pool.evaluate(address.value, {})) {
      const auto location = location_at(test_, *known);
      if (!location)
        throw bad_test(pointer.line, "a pointer that points nowhere is followed: is it a parameter?");
      return {*location, address.from};
    }
    const unsigned choice = choices_.choose(static_cast<unsigned>(targets_.size()) + 1);
    if (choice < targets_.size()) {
      assume_points_to(address.value, targets_[choice], true);
      return {targets_[choice], address.from};
    }
    for (const std::size_t target : targets_)
      assume_points_to(address.value, target, false);
    path_.wild_line = pointer.line;
    throw path_ends();
  }

  void assume_points_to(expression_id address, std::size_t target, bool truth) {
    const expression_id value = path_.pool.constant(address_of(target));
    path_.assumptions.push_back({path_.pool.binary(operation::equal, address, value), truth});
  }

  place first_argument(const expression& e, const primitive& p) {
    const expression& argument = e.operands[p.pointer_is_last ? e.operands.size() - 1 : 0];
    if (!p.takes_lvalue) return pointed_to(argument);
    if (argument.kind != expression_kind::deref)
      throw bad_test(e.line, e.name + "() needs a dereferenced pointer as its first argument");
    return pointed_to(argument.operands[0]);
  }

  // ---- events ----

  std::size_t add(event e) {
    if (path_.events.size() == max_steps) throw unsupported(process_.line, "a process with so many steps");
    e.control |= control_;
    path_.events.push_back(e);
    return path_.events.size() - 1;
  }

  void fence(fence_kind kind) { add({.kind = event_kind::fence, .fence = kind}); }

  operand read(const place& p, ordering order, lock_role lock = lock_role::none, bool atomic = false) {
    const std::size_t at = add({.kind = event_kind::read,
                                .order = order,
                                .lock = lock,
                                .atomic = atomic,
                                .location = p.location,
                                .address = p.from});
    if (at >= max_events) throw unsupported(process_.line, "a process with so many events");
    operand result{path_.pool.read(at)};
    result.from.set(at);
    touched_ |= result.from;
    return result;
  }

  void write(const place& p, ordering order, const operand& value, lock_role lock = lock_role::none) {
    add({.kind = event_kind::write,
         .order = order,
         .lock = lock,
         .location = p.location,
         .value = value.value,
         .address = p.from,
         .data = value.from});
  }

  /// The write of the read-modify-write whose read is `r`, which has just been made.
  void write_back(const place& p, ordering order, const operand& value, const dependency_set& control = {}) {
    add({.kind = event_kind::write,
         .order = order,
         .atomic = true,
         .location = p.location,
         .value = value.value,
         .rmw_read = path_.events.size() - 1,
         .address = p.from,
         .data = value.from,
         .control = control});
  }

  // ---- primitives ----

  /// What the call returns, if it returns something.
  std::optional<operand> call(const expression& e) {
    const auto p = find_primitive(e.name);
    if (!p) throw unsupported(e.line, e.name + "()");
    if (e.operands.size() != p->arguments)
      throw bad_test(e.line, e.name + "() takes " + std::to_string(p->arguments) + " argument" +
                                 (p->arguments == 1 ? "" : "s") + ", not " +
                                 std::to_string(e.operands.size()));
    switch (p->kind) {
    case primitive_kind::load:
      return read(first_argument(e, *p), p->order);
    case primitive_kind::store:
      store(e, *p);
      return std::nullopt;
    case primitive_kind::fence:
      fence(p->fence);
      return std::nullopt;
    case primitive_kind::exchange:
      return exchange(e, *p);
    case primitive_kind::compare_exchange:
      return compare_exchange(e, *p);
    case primitive_kind::modify:
      modify(e, *p);
      return std::nullopt;
    case primitive_kind::modify_return:
    case primitive_kind::fetch_modify:
    case primitive_kind::modify_test_zero:
    case primitive_kind::modify_negative:
      return modify(e, *p);
    case primitive_kind::add_unless:
      return add_unless(e, *p);
    case primitive_kind::spin_lock:
      lock(first_argument(e, *p));
      return std::nullopt;
    case primitive_kind::spin_unlock:
      write(first_argument(e, *p), ordering::release, {path_.pool.constant(0)}, lock_role::unlock);
      return std::nullopt;
    case primitive_kind::spin_trylock:
      return trylock(first_argument(e, *p));
    case primitive_kind::spin_is_locked:
      return is_locked(first_argument(e, *p));
    case primitive_kind::srcu_lock:
    case primitive_kind::srcu_unlock:
    case primitive_kind::srcu_sync:
      return srcu_step(e, *p);
    }
    return std::nullopt;
  }

  void store(const expression& e, const primitive& p) {
    const place to = first_argument(e, p);
    write(to, p.order, evaluate(e.operands[1]));
    if (p.fence != fence_kind::none) fence(p.fence);
  }

  static ordering read_order(const primitive& p) {
    return p.order == ordering::acquire || p.order == ordering::noreturn ? p.order : ordering::once;
  }
  static ordering write_order(const primitive& p) {
    return p.order == ordering::release ? ordering::release : ordering::once;
  }

  operand exchange(const expression& e, const primitive& p) {
    if (p.full_fences) fence(fence_kind::mb);
    const place at = first_argument(e, p);
    const operand stored = evaluate(e.operands[1]);
    const operand old = read(at, read_order(p), lock_role::none, true);
    write_back(at, write_order(p), stored);
    if (p.full_fences) fence(fence_kind::mb);
    return old;
  }

  /// A comparison that fails orders nothing and does not even look at the new value.
  operand compare_exchange(const expression& e, const primitive& p) {
    const bool succeeds = choices_.choose(2) == 0;
    if (succeeds && p.full_fences) fence(fence_kind::mb);
    const place at = first_argument(e, p);
    const operand expected = evaluate(e.operands[1]);
    const operand stored = succeeds ? evaluate(e.operands[2]) : operand{};
    const operand old = read(at, succeeds ? read_order(p) : ordering::once, lock_role::none, true);
    path_.assumptions.push_back({path_.pool.binary(operation::equal, old.value, expected.value), succeeds});
    if (!succeeds) return old;
    write_back(at, write_order(p), stored, old.from | expected.from);
    if (p.full_fences) fence(fence_kind::mb);
    return old;
  }

  operand modify(const expression& e, const primitive& p) {
    if (p.full_fences) fence(fence_kind::mb);
    const operand by = p.operand ? operand{path_.pool.constant(*p.operand)}
                                 : evaluate(e.operands[p.pointer_is_last ? 0 : 1]);
    const place at = first_argument(e, p);
    const operand old = read(at, read_order(p), lock_role::none, true);
    const operand stored{path_.pool.binary(p.op, old.value, by.value), old.from | by.from};
    write_back(at, write_order(p), stored);
    if (p.full_fences) fence(fence_kind::mb);
    switch (p.kind) {
    case primitive_kind::fetch_modify:
      return {old.value, stored.from};
    case primitive_kind::modify_test_zero:
      return {path_.pool.binary(operation::equal, stored.value, path_.pool.constant(0)), stored.from};
    case primitive_kind::modify_negative:
      return {path_.pool.binary(operation::less, stored.value, path_.pool.constant(0)), stored.from};
    default:
      return stored;
    }
  }

  operand add_unless(const expression& e, const primitive& p) {
    const bool adds = choices_.choose(2) == 0;
    if (adds) fence(fence_kind::mb);
    const place at = first_argument(e, p);
    const operand by = evaluate(e.operands[1]);
    const operand unless = evaluate(e.operands[2]);
    const operand old = read(at, ordering::once, lock_role::none, true);
    path_.assumptions.push_back({path_.pool.binary(operation::not_equal, old.value, unless.value), adds});
    if (adds) {
      write_back(at, ordering::once,
                 {path_.pool.binary(operation::add, old.value, by.value), old.from | by.from}, unless.from);
      fence(fence_kind::mb);
    }
    return {path_.pool.constant(adds), old.from | unless.from};
  }

  void lock(const place& at) {
    read(at, ordering::acquire, lock_role::lock_read);
    const std::size_t lock_read = path_.events.size() - 1;
    write(at, ordering::once, {path_.pool.constant(1)}, lock_role::lock_write);
    path_.events.back().rmw_read = lock_read;
  }

  operand trylock(const place& at) {
    if (choices_.choose(2) == 0) {
      lock(at);
      return {path_.pool.constant(1)};
    }
    return {path_.pool.constant(0), read(at, ordering::once, lock_role::seen_locked).from};
  }

  operand is_locked(const place& at) {
    const bool locked = choices_.choose(2) == 0;
    const lock_role seen = locked ? lock_role::seen_locked : lock_role::seen_unlocked;
    return {path_.pool.constant(locked), read(at, ordering::once, seen).from};
  }

  std::optional<operand> srcu_step(const expression& e, const primitive& p) {
    const place at = first_argument(e, p);
    operand index;
    if (p.kind == primitive_kind::srcu_lock) // any number will do, if it tells this step from the others
      index = {path_.pool.constant(static_cast<value_t>(1000 * (number_ + 1) + path_.events.size()))};
    if (p.kind == primitive_kind::srcu_unlock) index = evaluate(e.operands[1]);
    add({.kind = event_kind::fence,
         .fence = p.fence,
         .location = at.location,
         .value = index.value,
         .address = at.from,
         .data = index.from});
    return p.kind == primitive_kind::srcu_lock ? std::optional(index) : std::nullopt;
  }

  const litmus_test& test_;
  const process& process_;
  std::size_t number_;
  const std::vector<std::size_t>& targets_;
  decisions& choices_;
  process_path path_;
  std::map<std::string, operand> registers_;
  dependency_set control_{}; ///< reads that decided that the code now executed is executed
  dependency_set touched_{}; ///< reads that the condition now evaluated looked at
};

} // namespace

std::vector<process_path> unfold(const litmus_test& test, std::size_t process) {
  const std::vector<std::size_t> targets = address_taken(test).locations();
  decisions choices;
  std::vector<process_path> paths;
  do {
    paths.push_back(path_builder(test, process, targets, choices).run());
    if (paths.size() > max_paths)
      throw unsupported(test.processes[process].line, "a process with so many paths");
  } while (choices.advance());
  return paths;
}

} // namespace racewalk::litmus
