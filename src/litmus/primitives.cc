#include "litmus/primitives.h"

#include <array>
#include <map>
#include <string>
#include <utility>

namespace racewalk::litmus {
namespace {

using table = std::map<std::string, primitive, std::less<>>;
using kind = primitive_kind;

/// An operation's four strengths: NAME, NAME_relaxed, NAME_acquire, NAME_release.
void add_strengths(table& t, const std::string& name, primitive p) {
  p.full_fences = true;
  t[name] = p;
  p.full_fences = false;
  t[name + "_relaxed"] = p;
  p.order = ordering::acquire;
  t[name + "_acquire"] = p;
  p.order = ordering::release;
  t[name + "_release"] = p;
}

void add_accesses(table& t) {
  t["READ_ONCE"] = {.kind = kind::load, .takes_lvalue = true, .arguments = 1};
  t["rcu_dereference"] = t["READ_ONCE"];
  t["smp_load_acquire"] = {.kind = kind::load, .order = ordering::acquire, .arguments = 1};
  t["WRITE_ONCE"] = {.kind = kind::store, .takes_lvalue = true, .arguments = 2};
  t["smp_store_mb"] = {.kind = kind::store, .takes_lvalue = true, .fence = fence_kind::mb, .arguments = 2};
  t["smp_store_release"] = {.kind = kind::store, .order = ordering::release, .arguments = 2};
  t["rcu_assign_pointer"] = {
      .kind = kind::store, .order = ordering::release, .takes_lvalue = true, .arguments = 2};
}

void add_fences(table& t) {
  constexpr std::array<std::pair<const char*, fence_kind>, 12> fences = {
      {{"smp_mb", fence_kind::mb},
       {"smp_rmb", fence_kind::rmb},
       {"smp_wmb", fence_kind::wmb},
       {"smp_mb__before_atomic", fence_kind::before_atomic},
       {"smp_mb__after_atomic", fence_kind::after_atomic},
       {"smp_mb__after_spinlock", fence_kind::after_spinlock},
       {"smp_mb__after_unlock_lock", fence_kind::after_unlock_lock},
       {"barrier", fence_kind::barrier},
       {"rcu_read_lock", fence_kind::rcu_lock},
       {"rcu_read_unlock", fence_kind::rcu_unlock},
       {"synchronize_rcu", fence_kind::sync_rcu},
       {"synchronize_rcu_expedited", fence_kind::sync_rcu}}};
  for (const auto& [name, fence] : fences)
    t[name] = {.kind = kind::fence, .fence = fence};
}

void add_locks(table& t) {
  t["spin_lock"] = {.kind = kind::spin_lock, .arguments = 1};
  t["spin_unlock"] = {.kind = kind::spin_unlock, .arguments = 1};
  t["spin_trylock"] = {.kind = kind::spin_trylock, .arguments = 1};
  t["spin_is_locked"] = {.kind = kind::spin_is_locked, .arguments = 1};
  t["srcu_read_lock"] = {.kind = kind::srcu_lock, .fence = fence_kind::srcu_lock, .arguments = 1};
  t["srcu_read_unlock"] = {.kind = kind::srcu_unlock, .fence = fence_kind::srcu_unlock, .arguments = 2};
  t["synchronize_srcu"] = {.kind = kind::srcu_sync, .fence = fence_kind::sync_srcu, .arguments = 1};
  t["synchronize_srcu_expedited"] = t["synchronize_srcu"];
}

/// atomic_OP, atomic_OP_return and atomic_fetch_OP, with an operand or, for inc and dec, without one.
void add_arithmetic(table& t, const std::string& prefix, const std::string& name, operation op,
                    std::optional<value_t> operand) {
  const bool returns_new =
      op == operation::add || op == operation::sub; // the kernel has no atomic_and_return()
  primitive p{.op = op};
  p.pointer_is_last = !operand;
  p.operand = operand;
  p.arguments = operand ? 1 : 2;
  p.kind = kind::modify;
  p.order = ordering::noreturn;
  t[prefix + name] = p;
  p.order = ordering::once;
  if (returns_new) {
    p.kind = kind::modify_return;
    add_strengths(t, prefix + name + "_return", p);
  }
  p.kind = kind::fetch_modify;
  add_strengths(t, prefix + "fetch_" + name, p);
  p.full_fences = true;
  p.kind = kind::modify_test_zero;
  if (returns_new && name != "add") t[prefix + name + "_and_test"] = p;
  p.kind = kind::modify_negative;
  if (name == "add") t[prefix + "add_negative"] = p;
}

void add_exchanges(table& t, const std::string& prefix) {
  add_strengths(t, prefix + "xchg", {.kind = kind::exchange, .arguments = 2});
  add_strengths(t, prefix + "cmpxchg", {.kind = kind::compare_exchange, .arguments = 3});
}

void add_atomics(table& t, const std::string& prefix) {
  t[prefix + "read"] = {.kind = kind::load, .arguments = 1};
  t[prefix + "read_acquire"] = t["smp_load_acquire"];
  t[prefix + "set"] = {.kind = kind::store, .arguments = 2};
  t[prefix + "set_release"] = t["smp_store_release"];
  add_arithmetic(t, prefix, "add", operation::add, std::nullopt);
  add_arithmetic(t, prefix, "sub", operation::sub, std::nullopt);
  add_arithmetic(t, prefix, "inc", operation::add, 1);
  add_arithmetic(t, prefix, "dec", operation::sub, 1);
  add_arithmetic(t, prefix, "and", operation::bit_and, std::nullopt);
  add_arithmetic(t, prefix, "or", operation::bit_or, std::nullopt);
  add_arithmetic(t, prefix, "xor", operation::bit_xor, std::nullopt);
  add_arithmetic(t, prefix, "andnot", operation::and_not, std::nullopt);
  add_exchanges(t, prefix);
  t[prefix + "add_unless"] = {.kind = kind::add_unless, .full_fences = true, .arguments = 3};
}

table build() {
  table t;
  add_accesses(t);
  add_fences(t);
  add_locks(t);
  add_exchanges(t, "");
  for (const char* prefix : {"atomic_", "atomic_long_", "atomic64_"})
    add_atomics(t, prefix);
  return t;
}

} // namespace

std::optional<primitive> find_primitive(std::string_view name) {
  static const table primitives = build();
  const auto found = primitives.find(name);
  return found == primitives.end() ? std::nullopt : std::optional(found->second);
}

} // namespace racewalk::litmus
