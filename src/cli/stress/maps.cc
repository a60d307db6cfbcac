// `racewalk stress --mix maps`: mappings come and go under everybody's accesses.
//
// What is checked:
//   content     every word is 0 or names its own address: memory that went to somebody else too early, or
//               a store through a translation that should have been gone, would show as another address
//   rights      a store to what has been read-only throughout fails, an access to what has been mapped
//               throughout does not
//   updates     no fetch_add is lost, whatever mprotect does to its page meanwhile
//   pins        pinned memory keeps its content, whatever becomes of its mapping
//   forks       a child has what its parent had, and neither sees what the other stores from then on
//   accounting  at the end every frame is free again (page counts are checked when a page is freed)
// What is not: that mappings land where Linux would put them, and how long anything takes.
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/stress/mix.h"
#include "mm/migrate.h"
#include "mm/mmap.h"

namespace racewalk::cli::stress {
namespace {

constexpr std::uint64_t memory_bytes = 12U << 20; // little enough to run out of it now and then
constexpr unsigned nr_spaces = 2;
constexpr unsigned slots_per_space = 24;
constexpr std::uint64_t page_bytes = PAGE_SIZE;
constexpr std::uint64_t huge_bytes = 2U << 20;
constexpr std::size_t max_held_pins = 8;
constexpr unsigned operations_per_look = 256; // at the clock

/// A word that says where it belongs: its address and space above 16 bits that change from store to store.
std::uint64_t tag(unsigned space, vaddr_t va, std::uint64_t noise) {
  return (va >> 3) << 17 | std::uint64_t{space} << 16 | (noise & 0xffff);
}
bool belongs(std::uint64_t word, unsigned space, vaddr_t va) {
  return word == 0 || word >> 16 == tag(space, va, 0) >> 16;
}

/// A mapping that all threads use. Who changes it holds `lock`; `version` is odd meanwhile, so that others
/// can tell whether what they saw held throughout.
struct slot {
  std::mutex lock;
  std::atomic<std::uint64_t> version{0};
  std::atomic<vaddr_t> start{0}; // 0: not mapped
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<bool> writable{true};
};

/// The changes of one slot, while it lives.
class slot_change {
 public:
  explicit slot_change(slot& s) : slot_(s), guard_(s.lock) { slot_.version.fetch_add(1); }
  ~slot_change() { slot_.version.fetch_add(1); }
  slot_change(const slot_change&) = delete;
  slot_change& operator=(const slot_change&) = delete;

 private:
  slot& slot_;
  std::lock_guard<std::mutex> guard_;
};

/// A mapping that mremap moves from place to place while all threads use every place. Its words are tagged as
/// if it were at the first of them. The places lie where mmap puts nothing as long as it finds room
/// elsewhere.
struct traveller {
  static constexpr unsigned places = 6;
  static constexpr std::uint64_t bytes = huge_bytes + 8 * page_bytes;

  /// Every other place is off by a few pages, so that tables and huge pages cannot move in one piece.
  static vaddr_t place(unsigned n) {
    return (vaddr_t{8 + n % 2} << 39) + n * 3 * huge_bytes + n % 2 * 5 * page_bytes;
  }

  std::mutex lock;             // of who moves it
  std::atomic<unsigned> at{0}; // the place; changes under lock
};

struct space_state {
  explicit space_state(System& system) : space(system), counters(space.mmap(page_bytes).value()) {
    space.mmap_fixed(traveller::place(0), traveller::bytes).value();
    space.madvise(traveller::place(0), traveller::bytes, AddressSpace::HugePages::yes).value();
  }

  AddressSpace space;
  traveller moving;
  std::array<slot, slots_per_space> slots;
  vaddr_t counters; // one page; word i is thread i's
};

struct totals {
  std::uint64_t loads = 0;
  std::uint64_t stores = 0;
  std::uint64_t updates = 0;
  std::uint64_t pins = 0;
  std::uint64_t maps = 0;
  std::uint64_t unmaps = 0;
  std::uint64_t remaps = 0;
  std::uint64_t protects = 0;
  std::uint64_t reshapes = 0; // collapses, splits and moves that succeeded
  std::uint64_t given_back = 0;
  std::uint64_t forks = 0;
  std::uint64_t refused = 0; // accesses to what was not mapped, or not with that right
  std::uint64_t no_memory = 0;

  totals& operator+=(const totals& o) {
    loads += o.loads, stores += o.stores, updates += o.updates, pins += o.pins;
    reshapes += o.reshapes, given_back += o.given_back, forks += o.forks;
    maps += o.maps, unmaps += o.unmaps, remaps += o.remaps, protects += o.protects, refused += o.refused,
        no_memory += o.no_memory;
    return *this;
  }
};

/// What all threads share.
struct shared_state {
  explicit shared_state(const stress_options& o)
      : options(o), system(machine_bytes(o, memory_bytes), o.threads), free_at_start(system.free_frames()),
        pressure(std::in_place, system, o), updates(o.threads) {
    for (auto& s : spaces)
      s = std::make_unique<space_state>(system);
  }
  void fail(std::string why) { outcome.fail(std::move(why)); }

  const stress_options options;
  System system;
  const std::uint64_t free_at_start;
  std::optional<memory_pressure> pressure;
  std::array<std::unique_ptr<space_state>, nr_spaces> spaces;
  /// How many updates of its counter each CPU has made, in each space.
  std::vector<std::array<std::uint64_t, nr_spaces>> updates;
  verdict outcome;
};

/// One CPU's share of the load.
class worker {
 public:
  worker(shared_state& s, unsigned id)
      : stress_(s), id_(id), random_(s.options.seed * 1'000'003 + id), cpu_(s.system, id, s.spaces[0]->space),
        updates_made_(s.updates[id]) {}

  template <class Over> totals run(Over over);

 private:
  struct held_pin {
    PinnedPages pages;
    unsigned space;
    vaddr_t start;
  };
  /// A word of a slot, and the slot as it was when the word was chosen.
  struct target {
    slot& where;
    std::uint64_t version;
    vaddr_t va;
    bool writable;
  };

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  space_state& here() { return *stress_.spaces[space_]; }
  slot& any_slot() { return here().slots[below(slots_per_space)]; }
  std::optional<target> any_word();
  bool held_throughout(const target& t) { return t.where.version.load() == t.version; }

  void step();
  void load();
  void store();
  void update();
  void map();
  void unmap();
  void replace_part();
  void remap();
  void visit();
  void protect();
  void reshape();
  void pin();
  void check_pin(held_pin& p);
  void fork();
  void look_at(AddressSpace& child);
  void switch_space();
  void refuse(fault_result error, const target& t, bool allowed);

  shared_state& stress_;
  const unsigned id_;
  std::mt19937_64 random_;
  CpuSession cpu_;
  unsigned space_ = 0;
  std::array<std::uint64_t, nr_spaces>& updates_made_;
  std::vector<held_pin> pins_;
  totals done_;
};

/// A word of a mapped slot, or nothing if the slot is empty or being changed.
std::optional<worker::target> worker::any_word() {
  slot& s = any_slot();
  const std::uint64_t version = s.version.load();
  const vaddr_t start = s.start.load();
  const std::uint64_t bytes = s.bytes.load();
  const bool writable = s.writable.load();
  if (version % 2 != 0 || start == 0 || bytes == 0) return std::nullopt;
  return target{s, version, start + below(bytes / 8) * 8, writable};
}

/// An access failed. That is right if `allowed`, or if the mapping changed, or if memory is short.
void worker::refuse(fault_result error, const target& t, bool allowed) {
  if (error == fault_result::oom) {
    done_.no_memory++;
    return;
  }
  done_.refused++;
  if (!allowed && held_throughout(t))
    stress_.fail(fmt::format("an access to {:#x} was refused, which was mapped throughout", t.va));
}

void worker::load() {
  const auto t = any_word();
  if (!t) return;
  const auto word = cpu_->load<std::uint64_t>(t->va);
  done_.loads++;
  if (!word)
    refuse(word.error(), *t, false);
  else if (!belongs(word.value(), space_, t->va))
    stress_.fail(
        fmt::format("a load from {:#x} found {:#x}, which does not belong there", t->va, word.value()));
}

void worker::store() {
  const auto t = any_word();
  if (!t) return;
  const auto done = cpu_->store<std::uint64_t>(t->va, tag(space_, t->va, random_()));
  done_.stores++;
  if (!done)
    refuse(done.error(), *t, !t->writable);
  else if (!t->writable && held_throughout(*t))
    stress_.fail(fmt::format("a store to {:#x} went through, which was read-only throughout", t->va));
}

void worker::update() {
  const auto before = cpu_->fetch_add<std::uint64_t>(here().counters + id_ * 8, 1);
  if (!before) return; // read-only for the moment
  done_.updates++;
  if (before.value() != updates_made_[space_]++)
    stress_.fail(fmt::format("CPU {} made {} updates of a counter that says {}", id_,
                             updates_made_[space_] - 1, before.value()));
}

void worker::map() {
  slot& s = any_slot();
  const slot_change change(s);
  if (s.start.load() != 0) return;
  const bool huge = below(8) == 0;
  const std::uint64_t bytes = huge ? (1 + below(2)) * huge_bytes : (1 + below(64)) * page_bytes;
  const auto at = here().space.mmap(bytes);
  done_.maps++;
  if (!at) {
    done_.no_memory++;
    return;
  }
  if (huge) static_cast<void>(here().space.madvise(*at, bytes, AddressSpace::HugePages::yes));
  s.bytes.store(bytes);
  s.writable.store(true);
  s.start.store(*at);
}

void worker::unmap() {
  slot& s = any_slot();
  const slot_change change(s);
  if (s.start.load() == 0) return;
  const auto done = here().space.munmap(s.start.load(), s.bytes.load());
  done_.unmaps++;
  if (!done) {
    done_.no_memory++;
    return;
  }
  s.start.store(0);
}

/// Fresh memory in place of a few pages of a mapping.
void worker::replace_part() {
  slot& s = any_slot();
  const slot_change change(s);
  if (s.start.load() == 0 || !s.writable.load()) return;
  const std::uint64_t pages = s.bytes.load() / page_bytes;
  const std::uint64_t first = below(pages);
  const std::uint64_t count = 1 + below(std::min<std::uint64_t>(pages - first, 16));
  if (!here().space.mmap_fixed(s.start.load() + first * page_bytes, count * page_bytes)) done_.no_memory++;
  done_.maps++;
}

void worker::protect() {
  if (below(4) == 0) { // the page of the counters: updates_ must survive it
    const Access access = below(2) ? Access::read : Access::read_write;
    static_cast<void>(here().space.mprotect(here().counters, page_bytes, access));
    return;
  }
  slot& s = any_slot();
  const slot_change change(s);
  if (s.start.load() == 0) return;
  const bool writable = below(2) == 0;
  const auto done =
      here().space.mprotect(s.start.load(), s.bytes.load(), writable ? Access::read_write : Access::read);
  done_.protects++;
  if (done)
    s.writable.store(writable);
  else
    done_.no_memory++;
}

/// The memory that travels goes to another place.
void worker::remap() {
  traveller& moving = here().moving;
  const std::lock_guard guard(moving.lock);
  const unsigned to =
      (moving.at + 1 + static_cast<unsigned>(below(traveller::places - 1))) % traveller::places;
  const auto at = here().space.mremap_fixed(traveller::place(moving.at), traveller::bytes, traveller::bytes,
                                            traveller::place(to));
  if (at) {
    moving.at = to;
    done_.remaps++;
  } else if (at.error() == std::errc::not_enough_memory) {
    done_.no_memory++;
  } else {
    stress_.fail(fmt::format("what travels cannot go to {:#x}", traveller::place(to)));
  }
}

/// An access to a place where what travels may be.
void worker::visit() {
  const vaddr_t place = traveller::place(static_cast<unsigned>(below(traveller::places)));
  const std::uint64_t offset = below(traveller::bytes / 8) * 8;
  const vaddr_t known_as = traveller::place(0) + offset;
  if (below(2) == 0) {
    static_cast<void>(cpu_->store<std::uint64_t>(place + offset, tag(space_, known_as, random_())));
    done_.stores++;
    return;
  }
  const auto word = cpu_->load<std::uint64_t>(place + offset);
  done_.loads++;
  if (word && !belongs(word.value(), space_, known_as))
    stress_.fail(
        fmt::format("a load from {:#x}, where memory is moved to, found {:#x}, which does not belong there",
                    place + offset, word.value()));
}

/// Other tables, frames or folios for the same memory, or none, while everybody uses it.
void worker::reshape() {
  const auto t = any_word();
  if (!t) return;
  const vaddr_t va = below(4) == 0 ? traveller::place(here().moving.at) + below(traveller::bytes) : t->va;
  mm_struct& mm = here().space.mm();
  const vaddr_t huge = va & ~(huge_bytes - 1);
  switch (below(10)) {
  case 0:
    done_.given_back += vm_madvise(mm, va & PAGE_MASK, page_bytes, MADV_DONTNEED) == 0;
    break;
  case 8: // which it is only if there is a swap file
    static_cast<void>(vm_madvise(mm, va & PAGE_MASK, 16 * page_bytes, MADV_PAGEOUT));
    break;
  case 9:
    static_cast<void>(stress_.system.reclaim().shrink(1 + below(32)));
    break;
  case 1:
  case 2:
    done_.reshapes += vm_madvise(mm, huge, huge_bytes, MADV_COLLAPSE) == 0;
    break;
  case 3:
  case 4:
    done_.reshapes += split_page_at(mm, va) == 0;
    break;
  default:
    done_.reshapes += migrate_page_at(mm, va) == 0;
  }
}

void worker::pin() {
  const auto t = any_word();
  if (!t) return;
  const vaddr_t start = t->va & PAGE_MASK;
  auto pages = here().space.pin(start, 1 + below(4), t->writable ? Access::read_write : Access::read);
  if (!pages) {
    done_.refused++; // beyond the end, unmapped meanwhile, read-only meanwhile, or no memory
    return;
  }
  done_.pins++;
  if (pins_.size() == max_held_pins) pins_.erase(pins_.begin());
  pins_.push_back({std::move(*pages), space_, start});
}

/// Reads a word of a pinned page as a device would, past every translation.
void worker::check_pin(held_pin& p) {
  const std::uint64_t page = below(p.pages.size());
  const std::uint64_t word = below(page_bytes / 8);
  auto* memory = reinterpret_cast<std::uint64_t*>(p.pages[page].data());
  const std::uint64_t found = std::atomic_ref(memory[word]).load(std::memory_order_relaxed);
  const vaddr_t va = p.start + page * page_bytes + word * 8;
  if (!belongs(found, p.space, va))
    stress_.fail(
        fmt::format("the page pinned at {:#x} holds {:#x}, which belongs to somebody else", va, found));
}

/// A child, while everybody else goes on with the parent.
void worker::fork() {
  const auto child = here().space.fork();
  done_.forks++;
  if (!child) {
    done_.no_memory++;
    return;
  }
  cpu_.switch_to(**child);
  look_at(**child);
  cpu_.switch_to(here().space);
}

/// Nobody else runs in the child: what it has stays as it is but for what this stores.
void worker::look_at(AddressSpace& child) {
  const vaddr_t counter = here().counters + id_ * 8;
  const auto count = cpu_->load<std::uint64_t>(counter);
  if (count && count.value() != updates_made_[space_])
    stress_.fail(fmt::format("CPU {} had made {} updates of a counter that says {} in a child", id_,
                             updates_made_[space_], count.value()));
  static_cast<void>(child.mprotect(here().counters, page_bytes, Access::read_write));
  static_cast<void>(cpu_->fetch_add<std::uint64_t>(counter, 1)); // the parent's stays as it is
  for (unsigned n = below(64); n > 0; n--) {
    const auto t = any_word();
    const auto found = t ? cpu_->load<std::uint64_t>(t->va) : fault_result::sigsegv;
    if (!found) continue; // mapped since, or memory is short
    if (!belongs(found.value(), space_, t->va))
      stress_.fail(
          fmt::format("a child has {:#x} at {:#x}, which does not belong there", found.value(), t->va));
    const std::uint64_t own = tag(space_, t->va, random_());
    const bool stored = below(2) == 0 && cpu_->store<std::uint64_t>(t->va, own).ok();
    const auto again = cpu_->load<std::uint64_t>(t->va);
    if (again && again.value() != (stored ? own : found.value()))
      stress_.fail(fmt::format("{:#x} in a child changed by itself", t->va));
  }
}

void worker::switch_space() {
  space_ = static_cast<unsigned>(below(nr_spaces));
  cpu_.switch_to(here().space);
}

void worker::step() {
  const std::uint64_t dice = below(1000);
  if (dice < 350)
    load();
  else if (dice < 450)
    visit();
  else if (dice < 800)
    store();
  else if (dice < 880)
    update();
  else if (dice < 920)
    pin();
  else if (dice < 950)
    map();
  else if (dice < 970)
    unmap();
  else if (dice < 980)
    replace_part();
  else if (dice < 990)
    protect();
  else if (dice < 991)
    remap();
  else if (dice < 997)
    reshape();
  else if (dice < 998)
    fork();
  else
    switch_space();
  if (!pins_.empty()) check_pin(pins_[below(pins_.size())]);
}

template <class Over> totals worker::run(Over over) {
  while (!over())
    for (unsigned n = 0; n < operations_per_look; n++)
      step();
  pins_.clear();
  return done_;
}

/// Each counter holds as many updates as its CPU made.
void check_updates(shared_state& s) {
  for (unsigned space = 0; space < nr_spaces; space++) {
    const CpuSession cpu(s.system, 0, s.spaces[space]->space);
    for (unsigned id = 0; id < s.options.threads; id++) {
      if (s.updates[id][space] == 0) continue; // the page may never have been used
      const auto count = s.system.machine().cpu(0).load<std::uint64_t>(s.spaces[space]->counters + id * 8);
      if (!count || *count != s.updates[id][space])
        s.fail(fmt::format("CPU {} made {} updates of a counter that does not say so", id,
                           s.updates[id][space]));
    }
  }
}

} // namespace

outcome run_maps(const stress_options& options) {
  shared_state s(options);
  const totals t = run_workers<worker, totals>(s);
  check_updates(s);
  for (auto& space : s.spaces)
    space.reset();
  s.pressure.reset();
  check_frames(s);
  return outcome_of(s, {{"loads", t.loads},
                        {"stores", t.stores},
                        {"fetch_adds", t.updates},
                        {"pins", t.pins},
                        {"mmaps", t.maps},
                        {"munmaps", t.unmaps},
                        {"mremaps", t.remaps},
                        {"mprotects", t.protects},
                        {"collapses, splits and moves", t.reshapes},
                        {"pages given back", t.given_back},
                        {"forks", t.forks},
                        {"accesses and pins rightly refused", t.refused},
                        {"calls that found no memory", t.no_memory}});
}

} // namespace racewalk::cli::stress
