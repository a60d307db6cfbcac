#include "stress.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "racewalk/address_space.h"

namespace racewalk::stress {

namespace {

using random_engine = std::mt19937_64;

/// A number from 0 to n, exclusive.
u64 pick(random_engine& random, u64 n) { return std::uniform_int_distribution<u64>(0, n - 1)(random); }
bool chance(random_engine& random, double p) { return std::bernoulli_distribution(p)(random); }

/// The first thing that went wrong, and the word to stop.
class verdict {
 public:
  explicit verdict(const std::atomic<bool>& stop) : stop_(stop) {}
  void fail(std::string text) {
    std::lock_guard guard(lock_);
    if (failure_.empty()) failure_ = std::move(text);
    failed_ = true;
  }
  void expect(bool good, const char* text) {
    if (!good) fail(text);
  }
  [[nodiscard]] bool over() const { return stop_ || failed_ || std::chrono::steady_clock::now() > deadline_; }
  void run_for(double seconds) {
    deadline_ =
        std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                               std::chrono::duration<double>(seconds));
  }
  std::string failure() {
    std::lock_guard guard(lock_);
    return failure_;
  }

 private:
  const std::atomic<bool>& stop_;
  std::atomic<bool> failed_{false};
  std::chrono::steady_clock::time_point deadline_;
  std::mutex lock_;
  std::string failure_;
};

/// Numbers of CPUs that no thread is at the moment.
class cpu_pool {
 public:
  explicit cpu_pool(unsigned cpus) {
    for (unsigned id = 0; id < cpus; ++id)
      free_.push_back(id);
  }
  unsigned take() {
    std::unique_lock lock(lock_);
    available_.wait(lock, [this] { return !free_.empty(); });
    const unsigned id = free_.front();
    free_.pop_front();
    return id;
  }
  void give(unsigned id) {
    {
      std::lock_guard lock(lock_);
      free_.push_back(id);
    }
    available_.notify_one();
  }

 private:
  std::mutex lock_;
  std::condition_variable available_;
  std::deque<unsigned> free_;
};

// ---- what is in a slot -----------------------------------------------------------------------------------

constexpr u64 SLOT_BYTES = u64{4} << 20;
constexpr u64 SLOT_PAGES = SLOT_BYTES / PAGE_SIZE;
constexpr unsigned SLOTS = 24;
constexpr vaddr_t SLOTS_AT = u64{3} << 30;

/// Which word of a page is used for what.
enum word_use : u64 {
  OWNED,  ///< by the slot's owner, who knows what it holds
  SHARED, ///< by anyone, through the mapping
  DEVICE, ///< by anyone, through a pin
  WORDS,
};

/// Whose word a value is: different for each page of each slot of each space.
struct page_name {
  u64 number;

  /// A value that only this page may hold.
  [[nodiscard]] u64 value(u64 n) const { return number << 32 | (n & 0xffffffff); }
  [[nodiscard]] bool may_hold(u64 word) const { return word == 0 || word >> 32 == number; }
};

/// A window of addresses. Its owner of the moment holds `lock`; the rest is the owner's.
struct slot {
  std::mutex lock;
  vaddr_t at = 0;
  u64 first_name = 0;
  bool mapped_at_all = false;
  std::array<bool, SLOT_PAGES> mapped{};
  std::array<Access, SLOT_PAGES> access{};
  std::array<u64, SLOT_PAGES> owned{}; ///< what word OWNED holds

  [[nodiscard]] page_name name(u64 page) const { return {first_name + page}; }
  [[nodiscard]] vaddr_t word(u64 page, word_use use) const {
    return at + page * PAGE_SIZE + use * sizeof(u64);
  }
};

struct space {
  space(System& system, unsigned number) : memory(system) {
    for (unsigned i = 0; i < SLOTS; ++i) {
      slots[i].at = SLOTS_AT + i * SLOT_BYTES;
      slots[i].first_name = 1 + (u64{number} * SLOTS + i) * SLOT_PAGES;
    }
  }
  AddressSpace memory;
  std::array<slot, SLOTS> slots;
};

/// Pages that this thread keeps pinned for a while, and whose they are.
struct held_pin {
  PinnedPages pages;
  Access access;
  std::vector<page_name> names;
};

// ---- one thread ------------------------------------------------------------------------------------------

class worker {
 public:
  worker(System& system, std::vector<std::unique_ptr<space>>& spaces, cpu_pool& cpus, verdict& outcome,
         u64 seed)
      : system_(system), spaces_(spaces), cpus_(cpus), verdict_(outcome), random_(seed) {}

  void run() {
    while (!verdict_.over()) {
      const unsigned id = cpus_.take();
      {
        space& here = *spaces_[pick(random_, spaces_.size())];
        CpuSession cpu(system_, id, here.memory);
        for (u64 n = pick(random_, 200); n > 0 && !verdict_.over(); --n) {
          step(here, *cpu);
          if (chance(random_, 0.02)) idle(cpu, here);
          if (chance(random_, 0.002)) fork(cpu, here);
        }
      }
      cpus_.give(id);
    }
    while (!pins_.empty())
      release_pin();
  }

  report counts;

 private:
  void idle(CpuSession& cpu, space& here);
  void fork(CpuSession& cpu, space& here);
  void look_at_child(slot& s, Cpu& cpu);
  void step(space& here, Cpu& cpu);
  void owner_step(space& here, slot& s, Cpu& cpu);
  void race(slot& s, Cpu& cpu);
  void pin(space& here, slot& s);
  void release_pin();
  void float_mapping(space& here, Cpu& cpu);
  void map(space& here, slot& s);
  void unmap(space& here, slot& s);
  void protect(space& here, slot& s);
  void advise(space& here, slot& s);
  void store(slot& s, Cpu& cpu);
  void load(slot& s, Cpu& cpu);

  /// Whether a call that failed was one that memory was short for: then nothing has changed.
  bool short_of_memory(std::errc error) {
    if (error != std::errc::not_enough_memory) return false;
    ++counts.out_of_memory;
    return true;
  }
  struct page_range {
    u64 first;
    u64 count;
  };
  page_range any_range() {
    const u64 first = pick(random_, SLOT_PAGES);
    const u64 longest = std::min(SLOT_PAGES - first, chance(random_, 0.3) ? SLOT_PAGES : u64{16});
    return {first, 1 + pick(random_, longest)};
  }

  System& system_;
  std::vector<std::unique_ptr<space>>& spaces_;
  cpu_pool& cpus_;
  verdict& verdict_;
  random_engine random_;
  std::deque<held_pin> pins_;
};

/// As a kernel thread would: no access of its own, with the space still loaded.
void worker::idle(CpuSession& cpu, space& here) {
  cpu->enter_lazy_tlb();
  if (chance(random_, 0.5)) std::this_thread::sleep_for(std::chrono::microseconds(pick(random_, 50)));
  cpu.switch_to(here.memory);
}

/// While everybody else goes on: of a slot that this thread owns it knows what the child must have.
void worker::fork(CpuSession& cpu, space& here) {
  slot& s = here.slots[pick(random_, SLOTS)];
  const std::unique_lock owner(s.lock, std::try_to_lock);
  if (!owner) return;
  const auto child = here.memory.fork();
  if (!child) return verdict_.expect(short_of_memory(child.error()), "fork failed for an unexpected reason");
  ++counts.forks;
  cpu.switch_to(**child);
  look_at_child(s, *cpu);
  cpu.switch_to(here.memory);
  for (unsigned i = 0; i < 16; ++i)
    load(s, *cpu); // none of what was stored in the child
}

/// This thread runs in a child whose parent's slot it owns. Nobody else does.
void worker::look_at_child(slot& s, Cpu& cpu) {
  constexpr unsigned LOOKS = 16;
  std::array<u64, LOOKS> page{};
  std::array<std::array<std::optional<u64>, WORDS>, LOOKS> first{};
  for (unsigned i = 0; i < LOOKS; ++i) {
    page[i] = pick(random_, SLOT_PAGES);
    load(s, cpu);
    for (u64 use = OWNED; use < WORDS; ++use)
      if (const auto value = cpu.load<u64>(s.word(page[i], static_cast<word_use>(use))))
        first[i][use] = *value;
  }
  for (unsigned i = 0; i < LOOKS; ++i) {
    for (u64 use = SHARED; use < WORDS; ++use)
      if (const auto now = cpu.load<u64>(s.word(page[i], static_cast<word_use>(use))); now && first[i][use])
        verdict_.expect(*now == *first[i][use], "a child sees what was stored since the fork");
    (void)cpu.store<u64>(s.word(page[i], OWNED), s.name(page[i]).value(random_()));
  }
}

void worker::step(space& here, Cpu& cpu) {
  ++counts.operations;
  slot& s = here.slots[pick(random_, SLOTS)];
  switch (pick(random_, 8)) {
  case 0:
  case 1:
    race(s, cpu);
    break;
  case 2:
    pin(here, s);
    break;
  case 3:
    if (!pins_.empty()) release_pin();
    break;
  case 4:
    float_mapping(here, cpu);
    break;
  default:
    if (std::unique_lock owner(s.lock, std::try_to_lock); owner) owner_step(here, s, cpu);
  }
}

void worker::owner_step(space& here, slot& s, Cpu& cpu) {
  if (!s.mapped_at_all) {
    map(here, s);
    return;
  }
  switch (pick(random_, 16)) {
  case 0:
    map(here, s);
    break;
  case 1:
  case 2:
    unmap(here, s);
    break;
  case 3:
  case 4:
    protect(here, s);
    break;
  case 5:
    advise(here, s);
    break;
  default:
    for (unsigned i = 0; i < 16; ++i) {
      store(s, cpu);
      load(s, cpu);
    }
  }
}

/// Accesses by a thread that does not own the slot: they may fail, or find what was written for that page.
void worker::race(slot& s, Cpu& cpu) {
  for (unsigned i = 0; i < 32; ++i) {
    ++counts.accesses;
    const u64 page = pick(random_, SLOT_PAGES);
    const page_name name = s.name(page);
    if (chance(random_, 0.3)) (void)cpu.store<u64>(s.word(page, SHARED), name.value(random_()));
    for (u64 use = OWNED; use < WORDS; ++use)
      if (const auto word = cpu.load<u64>(s.word(page, static_cast<word_use>(use))))
        verdict_.expect(name.may_hold(*word), "a load found a word of another page");
  }
}

/// Pins pages that may be unmapped at any moment.
void worker::pin(space& here, slot& s) {
  const u64 first = pick(random_, SLOT_PAGES);
  const u64 count = 1 + pick(random_, std::min<u64>(SLOT_PAGES - first, chance(random_, 0.1) ? 256 : 4));
  const Access access = chance(random_, 0.5) ? Access::read : Access::read_write;
  auto pinned = here.memory.pin(s.at + first * PAGE_SIZE, count, access);
  if (!pinned) {
    if (!short_of_memory(pinned.error()))
      verdict_.expect(pinned.error() == std::errc::bad_address, "a pin failed for an unexpected reason");
    return;
  }
  ++counts.pins;
  held_pin held{std::move(*pinned), access, {}};
  for (u64 i = 0; i < count; ++i)
    held.names.push_back(s.name(first + i));
  pins_.push_back(std::move(held));
  if (pins_.size() > 8) release_pin();
}

/// A pinned page still holds what was written for it, by whoever could reach it.
void worker::release_pin() {
  held_pin held = std::move(pins_.front());
  pins_.pop_front();
  for (std::size_t i = 0; i < held.names.size(); ++i) {
    auto* words = reinterpret_cast<word_t*>(held.pages[i].data());
    if (held.access == Access::read_write) WRITE_ONCE(words[DEVICE], held.names[i].value(random_()));
    for (u64 use = OWNED; use < WORDS; ++use)
      verdict_.expect(held.names[i].may_hold(READ_ONCE(words[use])),
                      "a pinned page holds a word of another page");
  }
}

/// A mapping where the manager wants it: nobody else knows of it.
void worker::float_mapping(space& here, Cpu& cpu) {
  const u64 pages = 1 + pick(random_, 64);
  const auto at = here.memory.mmap(pages * PAGE_SIZE);
  if (!at) {
    verdict_.expect(short_of_memory(at.error()), "mmap failed for an unexpected reason");
    return;
  }
  ++counts.maps;
  const u64 touched = pick(random_, pages);
  // names above those of all slots
  const page_name name{(u64{1} << 31) + pick(random_, 1 << 20)};
  const vaddr_t word = *at + touched * PAGE_SIZE;
  const auto before = cpu.load<u64>(word);
  if (before) verdict_.expect(*before == 0, "fresh memory is not zero");
  if (cpu.store<u64>(word, name.value(7))) {
    const auto after = cpu.load<u64>(word);
    verdict_.expect(after && *after == name.value(7), "a store was lost");
  }
  auto unmapped = here.memory.munmap(*at, pages * PAGE_SIZE);
  while (!unmapped && short_of_memory(unmapped.error()))
    unmapped = here.memory.munmap(*at, pages * PAGE_SIZE);
  verdict_.expect(unmapped.has_value(), "munmap failed for an unexpected reason");
  ++counts.unmaps;
}

// ---- the owner's steps -----------------------------------------------------------------------------------

void worker::map(space& here, slot& s) {
  const page_range range = any_range();
  const Access access = chance(random_, 0.9) ? Access::read_write : Access::read;
  const auto at = here.memory.mmap_fixed(s.at + range.first * PAGE_SIZE, range.count * PAGE_SIZE, access);
  if (!at) return verdict_.expect(short_of_memory(at.error()), "mmap failed for an unexpected reason");
  ++counts.maps;
  s.mapped_at_all = true;
  for (u64 i = range.first; i < range.first + range.count; ++i) {
    s.mapped[i] = true;
    s.access[i] = access;
    s.owned[i] = 0;
  }
}

void worker::unmap(space& here, slot& s) {
  const page_range range = chance(random_, 0.2) ? page_range{0, SLOT_PAGES} : any_range();
  const auto done = here.memory.munmap(s.at + range.first * PAGE_SIZE, range.count * PAGE_SIZE);
  if (!done) return verdict_.expect(short_of_memory(done.error()), "munmap failed for an unexpected reason");
  ++counts.unmaps;
  for (u64 i = range.first; i < range.first + range.count; ++i)
    s.mapped[i] = false;
  s.mapped_at_all = std::find(s.mapped.begin(), s.mapped.end(), true) != s.mapped.end();
}

void worker::protect(space& here, slot& s) {
  const page_range range = any_range();
  const auto end = s.mapped.begin() + static_cast<long>(range.first + range.count);
  const bool whole = std::find(s.mapped.begin() + static_cast<long>(range.first), end, false) == end;
  const auto access = static_cast<Access>(pick(random_, 3));
  const auto done = here.memory.mprotect(s.at + range.first * PAGE_SIZE, range.count * PAGE_SIZE, access);
  if (!done)
    return verdict_.expect(short_of_memory(done.error()), "mprotect failed for an unexpected reason");
  verdict_.expect(whole, "mprotect of a range with holes succeeded");
  ++counts.protects;
  for (u64 i = range.first; i < range.first + range.count; ++i)
    s.access[i] = access;
}

void worker::advise(space& here, slot& s) {
  const auto huge = chance(random_, 0.7) ? AddressSpace::HugePages::yes : AddressSpace::HugePages::no;
  const auto done = here.memory.madvise(s.at, SLOT_BYTES, huge);
  if (!done) verdict_.expect(short_of_memory(done.error()), "madvise failed for an unexpected reason");
}

void worker::store(slot& s, Cpu& cpu) {
  ++counts.accesses;
  const u64 page = pick(random_, SLOT_PAGES);
  const u64 value = s.name(page).value(random_());
  const auto done = cpu.store<u64>(s.word(page, OWNED), value);
  const bool allowed = s.mapped[page] && s.access[page] == Access::read_write;
  if (done) {
    verdict_.expect(allowed, "a store went where it must not");
    s.owned[page] = value;
  } else if (done.error() == fault_result::oom) {
    ++counts.out_of_memory;
  } else {
    verdict_.expect(!allowed, "a store failed that must not");
  }
}

void worker::load(slot& s, Cpu& cpu) {
  ++counts.accesses;
  const u64 page = pick(random_, SLOT_PAGES);
  const auto word = cpu.load<u64>(s.word(page, OWNED));
  const bool allowed = s.mapped[page] && s.access[page] != Access::none;
  if (word)
    verdict_.expect(allowed && *word == s.owned[page], "a load found something else than was stored");
  else if (word.error() == fault_result::oom)
    ++counts.out_of_memory;
  else
    verdict_.expect(!allowed, "a load failed that must not");
}

void add(report& sum, const report& part) {
  sum.operations += part.operations;
  sum.accesses += part.accesses;
  sum.maps += part.maps;
  sum.unmaps += part.unmaps;
  sum.protects += part.protects;
  sum.pins += part.pins;
  sum.forks += part.forks;
  sum.out_of_memory += part.out_of_memory;
}

} // namespace

report run(const options& how, const std::atomic<bool>& stop) {
  System system(how.memory, how.cpus);
  verdict outcome(stop);
  report sum;
  {
    std::vector<std::unique_ptr<space>> spaces;
    for (unsigned i = 0; i < how.spaces; ++i)
      spaces.push_back(std::make_unique<space>(system, i));
    cpu_pool cpus(how.cpus);
    std::vector<std::unique_ptr<worker>> workers;
    for (unsigned i = 0; i < how.threads; ++i)
      workers.push_back(std::make_unique<worker>(system, spaces, cpus, outcome, how.seed * 1000003 + i));
    system.fail_page_alloc().fail_with_probability(static_cast<std::uint32_t>(how.failing_allocations * 1e6));
    outcome.run_for(how.seconds);
    {
      std::vector<std::jthread> threads;
      for (const auto& w : workers)
        threads.emplace_back([&w] { w->run(); });
    }
    system.fail_page_alloc().fail_with_probability(0);
    for (const auto& w : workers)
      add(sum, w->counts);
  }
  system.settle();
  sum.frames_lost = system.total_frames() - system.free_frames();
  sum.failure = outcome.failure();
  if (sum.failure.empty() && sum.frames_lost != 0) sum.failure = "frames were not given back";
  return sum;
}

} // namespace racewalk::stress
