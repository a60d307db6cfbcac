// `racewalk stress --mix thp`: page tables change their shape under everybody's accesses.
//
// Each thread owns arenas of a few huge pages, and knows every byte of them: what it has written stands in a
// copy of its own. It writes and reads them as a program does, through pins, by a device that walks the
// tables, and through a table of a virtual machine; it maps, unmaps and protects parts of them and gives them
// back. All threads collapse, split, move, pin, age and track the memory of all arenas meanwhile; khugepaged
// collapses what is advised, and another thread makes equal pages one. None of that changes it.
//
// What is checked:
//   content     every byte that is read is the one that was written last, whichever way either went
//   rights      what forbids an access refuses it, what allows it does not, by all these ways
//   failures    a call that finds no memory changes nothing
//   accounting  at the end all pages, page tables and frames have come back
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/stress/mix.h"
#include "mm/gup.h"
#include "mm/iommu_sva.h"
#include "mm/mempolicy.h"
#include "mm/migrate.h"
#include "mm/mmap.h"
#include "mm/shadow_table.h"
#include "mm/task_mmu.h"
#include "racewalk/page_merger.h"

namespace racewalk::cli::stress {
namespace {

constexpr u64 huge_bytes = u64{2} << 20;
constexpr u64 arena_bytes = 2 * huge_bytes;
constexpr u64 arena_pages = arena_bytes / PAGE_SIZE;
constexpr unsigned arenas_per_thread = 2;
constexpr u64 region_bytes = u64{1} << 39;       // what one mmap_lock is for
constexpr vaddr_t other_region = u64{100} << 39; // that nobody's memory begins in
constexpr u64 far_off = u64{1} << 37;            // beyond what is mapped in a region
constexpr unsigned operations_per_look = 32;     // at the clock
constexpr std::size_t max_held_pins = 4;
constexpr u64 merged_per_wake = 256;
constexpr std::chrono::milliseconds merger_pause{1};
constexpr std::chrono::milliseconds khugepaged_pause{1};
/// What all arenas take when they are full, and as much again for huge pages to be made of.
constexpr u64 memory_of(unsigned threads) {
  return (u64{16} << 20) + threads * arenas_per_thread * arena_bytes * 5 / 4;
}

struct totals {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t pins = 0;
  std::uint64_t device_accesses = 0;
  std::uint64_t shadow_accesses = 0;
  std::uint64_t maps = 0;
  std::uint64_t reads_of_zeros = 0;
  std::uint64_t collapses = 0;
  std::uint64_t splits = 0;
  std::uint64_t moves = 0;
  std::uint64_t remaps = 0;
  std::uint64_t agings = 0;
  std::uint64_t refused = 0;
  std::uint64_t no_memory = 0;

  totals& operator+=(const totals& o) {
    reads += o.reads, writes += o.writes, pins += o.pins, device_accesses += o.device_accesses;
    shadow_accesses += o.shadow_accesses, maps += o.maps, collapses += o.collapses, splits += o.splits;
    reads_of_zeros += o.reads_of_zeros, remaps += o.remaps, moves += o.moves, agings += o.agings,
        refused += o.refused, no_memory += o.no_memory;
    return *this;
  }
};

/// Memory that one thread owns, and what must be in it.
struct arena {
  explicit arena(AddressSpace& space) : at(space.mmap(arena_bytes).value()), copy(arena_bytes) {
    mapped.fill(true);
    access.fill(Access::read_write);
  }

  vaddr_t at; ///< where a huge page may begin
  std::vector<std::byte> copy;
  std::array<bool, arena_pages> mapped{};
  std::array<Access, arena_pages> access{};

  [[nodiscard]] bool readable(u64 page) const { return mapped[page] && access[page] != Access::none; }
  [[nodiscard]] bool writable(u64 page) const { return mapped[page] && access[page] == Access::read_write; }
  [[nodiscard]] vaddr_t address(u64 page) const { return at + page * PAGE_SIZE; }
};

/// Says what differs from what was written, if anything does.
void compare(verdict& v, const arena& a, u64 offset, const std::byte* found, u64 bytes, const char* by) {
  const std::byte* wanted = a.copy.data() + offset;
  if (std::memcmp(found, wanted, bytes) == 0) return;
  const u64 n = static_cast<u64>(std::mismatch(found, found + bytes, wanted).first - found);
  v.fail(fmt::format("{} finds {:#x} at {:#x}, where {:#x} was written", by,
                     std::to_integer<unsigned>(found[n]), a.at + offset + n,
                     std::to_integer<unsigned>(wanted[n])));
}

/// What all threads share.
struct shared_state {
  explicit shared_state(const stress_options& o)
      : options(o), system(machine_bytes(o, memory_of(o.threads)), o.threads, PageTableCheck::on),
        free_at_start(system.free_frames()), pressure(std::in_place, system, o),
        space(std::in_place, system) {
    for (unsigned i = 0; i < o.threads * arenas_per_thread; i++)
      arenas.emplace_back(*space);
    merger.emplace(system);
    merger->watch(*space);
    merger->start(merged_per_wake, merger_pause);
    TransparentHugePages::Tuning how = system.huge_pages().khugepaged_tuning();
    how.scan_sleep = how.alloc_sleep = khugepaged_pause;
    system.huge_pages().tune_khugepaged(how).value();
    system.huge_pages().start_khugepaged();
  }

  const stress_options options;
  System system;
  const std::uint64_t free_at_start;
  std::optional<memory_pressure> pressure;
  std::optional<AddressSpace> space;
  std::optional<PageMerger> merger;
  std::vector<arena> arenas;
  verdict outcome;
};

/// A part of a page.
struct span_of_page {
  u64 page;
  u64 offset; ///< in the arena
  u64 bytes;
};

/// A range of pages.
struct pages_of_arena {
  u64 first;
  u64 count;
  [[nodiscard]] u64 end() const { return first + count; }
};

/// One CPU's share of the load.
class worker {
 public:
  worker(shared_state& l, unsigned id)
      : state_(l), id_(id), random_(l.options.seed * 1'000'003 + id), cpu_(l.system, id, *l.space),
        mine_(l.arenas.data() + id * arenas_per_thread, arenas_per_thread),
        device_(l.system.machine(), l.system.machine().nr_cpus()), sva_(device_),
        shadow_(mine_[0].at, arena_pages) {
    expect(iommu_sva_bind_device(sva_, mm()) == 0, "a device could not be bound");
    expect(shadow_.attach(mm()) == 0, "a shadow table could not subscribe");
  }
  ~worker() {
    expect(shadow_.detach() == 0, "a shadow table could not unsubscribe");
    expect(iommu_sva_unbind_device(sva_) == 0, "a device could not be unbound");
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  template <class Over> totals run(Over over) {
    while (!over())
      for (unsigned n = 0; n < operations_per_look && !state_.outcome.failed(); n++)
        step();
    drop_pins();
    return done_;
  }

 private:
  mm_struct& mm() { return state_.space->mm(); }
  u64 below(u64 n) { return random_() % n; }
  void expect(bool good, const char* what) {
    if (!good) state_.outcome.fail(fmt::format("CPU {}: {}", id_, what));
  }

  arena& my_arena() { return mine_[below(mine_.size())]; }
  span_of_page any_span();
  pages_of_arena any_pages();
  /// An address of anybody's.
  vaddr_t any_address() {
    return state_.arenas[below(state_.arenas.size())].at + below(arena_pages) * PAGE_SIZE;
  }

  void step();
  void read(arena& a, span_of_page s);
  void write(arena& a, span_of_page s);
  void gather(arena& a);
  void access_by_device(arena& a);
  void access_by_shadow();
  void access_by_pin(arena& a);
  void remap(arena& a);
  void read_zeros(arena& a);
  void travel(arena& a);
  void reshape(vaddr_t at);
  void age(vaddr_t huge);
  void hold_pin();
  void drop_pins();

  void compare(const arena& a, u64 offset, const std::byte* found, u64 bytes, const char* by) {
    stress::compare(state_.outcome, a, offset, found, bytes, by);
  }
  void check_refusal(const arena& a, u64 page, fault_result why, bool allowed, const char* by);
  /// Whether a call succeeded; if not, for want of memory.
  bool succeeded(int error, const char* what);

  shared_state& state_;
  const unsigned id_;
  std::mt19937_64 random_;
  CpuSession cpu_;
  std::span<arena> mine_;
  Device device_;
  iommu_sva sva_;
  shadow_table shadow_;
  std::vector<page*> held_;
  std::array<std::byte, PAGE_SIZE> buffer_{};
  totals done_;
};

span_of_page worker::any_span() {
  const u64 page = below(arena_pages);
  const u64 from = below(PAGE_SIZE);
  return {page, page * PAGE_SIZE + from, 1 + below(PAGE_SIZE - from)};
}

pages_of_arena worker::any_pages() {
  if (below(8) == 0) return {below(2) * (arena_pages / 2), arena_pages / 2};
  const u64 first = below(arena_pages);
  return {first, 1 + below(std::min<u64>(arena_pages - first, 32))};
}

// ---- checks ----------------------------------------------------------------------------------------------

void worker::check_refusal(const arena& a, u64 page, fault_result why, bool allowed, const char* by) {
  if (why == fault_result::oom) {
    done_.no_memory++;
    return;
  }
  done_.refused++;
  if (allowed)
    state_.outcome.fail(fmt::format("{} is refused at {:#x}, which allows it", by, a.address(page)));
}

bool worker::succeeded(int error, const char* what) {
  if (error == 0) return true;
  done_.no_memory++;
  if (error != -ENOMEM) state_.outcome.fail(fmt::format("{} says {}", what, std::strerror(-error)));
  return false;
}

// ---- accesses --------------------------------------------------------------------------------------------

void worker::read(arena& a, span_of_page s) {
  done_.reads++;
  const auto done = cpu_->copy_in(buffer_.data(), a.at + s.offset, s.bytes);
  if (!done) return check_refusal(a, s.page, done.error(), a.readable(s.page), "a load");
  if (!a.readable(s.page)) return expect(false, "a load goes where none may");
  compare(a, s.offset, buffer_.data(), s.bytes, "a load");
}

void worker::write(arena& a, span_of_page s) {
  done_.writes++;
  std::generate_n(buffer_.begin(), s.bytes,
                  [n = random_()]() mutable { return static_cast<std::byte>(n++); });
  const auto done = cpu_->copy_out(a.at + s.offset, buffer_.data(), s.bytes);
  if (!done) return check_refusal(a, s.page, done.error(), a.writable(s.page), "a store");
  expect(a.writable(s.page), "a store goes where none may");
  std::memcpy(a.copy.data() + s.offset, buffer_.data(), s.bytes);
}

/// A byte of each of several pages that may be read, at once.
void worker::gather(arena& a) {
  std::vector<u64> offsets;
  std::vector<vaddr_t> from;
  for (unsigned n = 0; n < 32; n++)
    if (const u64 page = below(arena_pages); a.readable(page)) {
      offsets.push_back(page * PAGE_SIZE + below(PAGE_SIZE));
      from.push_back(a.at + offsets.back());
    }
  std::array<u8, 32> found;
  done_.reads += from.size();
  const auto done = cpu_->gather<u8>(from, std::span(found).first(from.size()));
  if (!done) return check_refusal(a, 0, done.error(), true, "a gather");
  for (unsigned n = 0; n < from.size(); n++)
    compare(a, offsets[n], reinterpret_cast<const std::byte*>(&found[n]), 1, "a gather");
}

/// A word, by a device that asks for the page when it is refused.
void worker::access_by_device(arena& a) {
  done_.device_accesses++;
  const u64 page = below(arena_pages);
  const u64 offset = page * PAGE_SIZE + below(PAGE_SIZE / 8) * 8;
  const bool storing = below(2) == 0;
  u64 word = random_();
  while (true) {
    fault_result r = fault_result::handled;
    if (storing) {
      r = device_.store<u64>(a.at + offset, word).error();
    } else if (const auto loaded = device_.load<u64>(a.at + offset)) {
      word = *loaded;
    } else {
      r = loaded.error();
    }
    if (r == fault_result::handled) break;
    const fault_result fault = iommu_sva_handle_iopf(sva_, a.at + offset, storing);
    if (fault != fault_result::handled)
      return check_refusal(a, page, fault, storing ? a.writable(page) : a.readable(page), "a device");
  }
  expect(storing ? a.writable(page) : a.readable(page), "a device goes where it must not");
  if (storing)
    std::memcpy(a.copy.data() + offset, &word, sizeof word);
  else
    compare(a, offset, reinterpret_cast<const std::byte*>(&word), sizeof word, "a device");
}

/// A word, by a virtual machine; it has what is mapped for writing.
void worker::access_by_shadow() {
  arena& a = mine_[0];
  done_.shadow_accesses++;
  const u64 page = below(arena_pages);
  const u64 offset = page * PAGE_SIZE + below(PAGE_SIZE / 8) * 8;
  const bool storing = below(2) == 0;
  u64 word = random_();
  while (true) {
    if (storing) {
      if (shadow_.store(a.at + offset, word).ok()) break;
    } else if (const auto loaded = shadow_.load(a.at + offset)) {
      word = *loaded;
      break;
    }
    const int error = shadow_.fault(a.at + offset);
    if (error != 0)
      return check_refusal(a, page, error == -ENOMEM ? fault_result::oom : fault_result::sigsegv,
                           a.writable(page), "a virtual machine");
  }
  expect(a.writable(page), "a virtual machine goes where it must not");
  if (storing)
    std::memcpy(a.copy.data() + offset, &word, sizeof word);
  else
    compare(a, offset, reinterpret_cast<const std::byte*>(&word), sizeof word, "a virtual machine");
}

/// A few pages, as a device with a driver that pins them.
void worker::access_by_pin(arena& a) {
  const u64 first = below(arena_pages);
  const u64 count = 1 + below(std::min<u64>(arena_pages - first, 8));
  const auto pinned = state_.space->pin(a.address(first), count);
  const bool allowed = [&] {
    for (u64 page = first; page < first + count; page++)
      if (!a.writable(page)) return false;
    return true;
  }();
  if (!pinned) {
    const bool oom = pinned.error() == std::errc::not_enough_memory;
    // fewer pages than asked for is bad_address, for want of memory too
    const bool perhaps_oom = oom || state_.options.memory_is_short();
    return check_refusal(a, first, perhaps_oom ? fault_result::oom : fault_result::sigsegv, allowed, "a pin");
  }
  done_.pins++;
  expect(allowed, "a pin is granted where it must not be");
  for (u64 i = 0; i < count; i++) {
    const std::span<std::byte> memory = (*pinned)[i];
    const u64 offset = (first + i) * PAGE_SIZE;
    compare(a, offset, memory.data(), PAGE_SIZE, "a pin");
    const u64 at = below(PAGE_SIZE);
    a.copy[offset + at] = static_cast<std::byte>(random_());
    // atomically: the merger may be looking at it
    std::atomic_ref(memory[at]).store(a.copy[offset + at], std::memory_order_relaxed);
  }
}

// ---- the owner's calls -----------------------------------------------------------------------------------

void worker::remap(arena& a) {
  const pages_of_arena p = any_pages();
  const vaddr_t start = a.address(p.first);
  const u64 bytes = p.count * PAGE_SIZE;
  const auto zero = [&] {
    std::fill_n(a.copy.begin() + static_cast<long>(p.first * PAGE_SIZE), bytes, std::byte{});
  };
  done_.maps++;
  switch (below(8)) {
  case 0:
  case 1:
  case 2: {
    const auto done = state_.space->mmap_fixed(start, bytes);
    if (!succeeded(done ? 0 : -static_cast<int>(done.error()), "mmap")) return;
    std::fill_n(a.mapped.begin() + static_cast<long>(p.first), p.count, true);
    std::fill_n(a.access.begin() + static_cast<long>(p.first), p.count, Access::read_write);
    return zero();
  }
  case 3:
    if (!succeeded(vm_munmap(mm(), start, bytes), "munmap")) return;
    std::fill_n(a.mapped.begin() + static_cast<long>(p.first), p.count, false);
    return;
  case 4: {
    const auto access = static_cast<Access>(below(3));
    const auto done = state_.space->mprotect(start, bytes, access);
    const auto first = a.mapped.begin() + static_cast<long>(p.first);
    const bool holes =
        std::find(first, first + static_cast<long>(p.count), false) != first + static_cast<long>(p.count);
    expect(!holes || !done, "mprotect accepts a range with holes");
    if (holes) return;
    if (!succeeded(done ? 0 : -static_cast<int>(done.error()), "mprotect")) return;
    std::fill_n(a.access.begin() + static_cast<long>(p.first), p.count, access);
    return;
  }
  case 5: {
    const int error = vm_madvise(mm(), start, bytes, MADV_DONTNEED);
    expect(error == 0 || error == -ENOMEM,
           "MADV_DONTNEED fails"); // there may be holes; what is mapped is zero
    return zero();
  }
  case 6: // what cannot part for want of memory stays one
    (void)vm_madvise(mm(), a.at, arena_bytes, below(3) == 0 ? MADV_UNMERGEABLE : MADV_MERGEABLE);
    return;
  default:
    (void)vm_madvise(mm(), a.at, arena_bytes, below(3) == 0 ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
  }
}

/// Reads before it writes: half of the arena, given back and advised, is the huge page of zeros where nothing
/// is in the way, until something is stored to.
void worker::read_zeros(arena& a) {
  const u64 half = below(2) * (arena_pages / 2);
  const vaddr_t start = a.address(half);
  const int error = vm_madvise(mm(), start, huge_bytes, MADV_DONTNEED);
  expect(error == 0 || error == -ENOMEM, "MADV_DONTNEED fails"); // as above
  std::fill_n(a.copy.begin() + static_cast<long>(half * PAGE_SIZE), huge_bytes, std::byte{});
  (void)vm_madvise(mm(), start, huge_bytes, MADV_HUGEPAGE);
  span_of_page s = any_span();
  s.page = half + s.page % (arena_pages / 2);
  s.offset = s.page * PAGE_SIZE + s.offset % PAGE_SIZE;
  read(a, s);
  done_.reads_of_zeros++;
}

/// Moves a part elsewhere and back. There it is used, and reshaped, as everywhere; if there is no memory for
/// the way back, it is gone.
void worker::travel(arena& a) {
  const pages_of_arena p = any_pages();
  const vaddr_t start = a.address(p.first);
  const u64 bytes = p.count * PAGE_SIZE;
  // in the same region or another, where whole tables can move or not
  const vaddr_t region = below(2) == 0 ? start & ~(region_bytes - 1) : other_region;
  const vaddr_t there =
      region + far_off + u64{id_} * 2 * arena_bytes + (start & (huge_bytes - 1)) + below(2) * PAGE_SIZE;
  constexpr int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  const long at = vm_mremap(mm(), start, bytes, bytes, flags, there);
  expect(at > 0 || at == -EFAULT || at == -ENOMEM, "mremap fails"); // EFAULT: it is not one area
  if (at < 0) return;
  done_.remaps++;
  for (unsigned n = 0; n < 4; n++) {
    const u64 page = below(p.count);
    if (a.readable(p.first + page) && cpu_->copy_in(buffer_.data(), there + page * PAGE_SIZE, PAGE_SIZE).ok())
      compare(a, (p.first + page) * PAGE_SIZE, buffer_.data(), PAGE_SIZE, "a load elsewhere");
    reshape(there + page * PAGE_SIZE);
  }
  const long back = vm_mremap(mm(), there, bytes, bytes, flags, start);
  expect(back > 0 || back == -ENOMEM, "mremap does not find the way back");
  if (back > 0) return;
  done_.no_memory++;
  expect(vm_munmap(mm(), there, bytes) == 0, "what has been moved cannot be unmapped");
  std::fill_n(a.mapped.begin() + static_cast<long>(p.first), p.count, false);
}

// ---- what anybody does to anybody's memory ---------------------------------------------------------------

void worker::reshape(vaddr_t at) {
  const vaddr_t huge = at & ~(huge_bytes - 1);
  switch (below(6)) {
  case 0:
  case 1:
    done_.collapses += vm_madvise(mm(), huge, huge_bytes, MADV_COLLAPSE) == 0;
    break;
  case 2:
    done_.splits += split_page_at(mm(), at) == 0;
    break;
  case 3:
    done_.moves += migrate_page_at(mm(), at) == 0;
    break;
  default:
    age(huge);
  }
}

/// Asks to be told of what is used from now on. (There may be holes, which all of these report.)
void worker::age(vaddr_t huge) {
  done_.agings++;
  switch (below(4)) {
  case 0: {
    const int error = clear_refs(mm(), below(2) == 0 ? clear_refs_t::all : clear_refs_t::soft_dirty);
    expect(error == 0 || error == -EOPNOTSUPP, "clear_refs fails");
    break;
  }
  case 1:
    (void)change_prot_numa(mm(), huge, huge + huge_bytes);
    break;
  case 2:
    (void)vm_madvise(mm(), huge, huge_bytes, MADV_COLD);
    break;
  default: // nothing has been freed lazily, so nothing goes without a swap file
    (void)vm_madvise(mm(), huge, huge_bytes, MADV_PAGEOUT);
  }
}

/// Keeps a page where it is for a while, whatever becomes of its mapping.
void worker::hold_pin() {
  page* pinned = nullptr;
  if (pin_user_pages_fast(mm(), any_address(), 1, FOLL_NONE, &pinned) != 1) return;
  held_.push_back(pinned);
  if (held_.size() < max_held_pins) return;
  unpin_user_page(held_.front());
  held_.erase(held_.begin());
}

void worker::drop_pins() {
  for (page* p : held_)
    unpin_user_page(p);
  held_.clear();
}

void worker::step() {
  const u64 dice = below(1000);
  if (dice < 330)
    read(my_arena(), any_span());
  else if (dice < 350)
    gather(my_arena());
  else if (dice < 650)
    write(my_arena(), any_span());
  else if (dice < 730)
    access_by_device(my_arena());
  else if (dice < 810)
    access_by_shadow();
  else if (dice < 860)
    access_by_pin(my_arena());
  else if (dice < 905)
    remap(my_arena());
  else if (dice < 910)
    read_zeros(my_arena());
  else if (dice < 960)
    reshape(any_address());
  else if (dice < 970)
    travel(my_arena());
  else
    hold_pin();
}

// ---- the end ---------------------------------------------------------------------------------------------

/// Every byte that can be read.
void check_contents(shared_state& l) {
  const CpuSession cpu(l.system, 0, *l.space);
  std::array<std::byte, PAGE_SIZE> found;
  for (const arena& a : l.arenas)
    for (u64 page = 0; page < arena_pages; page++) {
      if (!a.readable(page)) continue;
      const auto done = l.system.machine().cpu(0).copy_in(found.data(), a.address(page), PAGE_SIZE);
      if (done)
        compare(l.outcome, a, page * PAGE_SIZE, found.data(), PAGE_SIZE, "the last look");
      else if (done.error() != fault_result::oom || l.options.memory == 0)
        l.outcome.fail(fmt::format("the last look is refused at {:#x}", a.address(page)));
    }
}

void check_accounts(shared_state& l) {
  l.merger.reset();
  l.system.huge_pages().stop_khugepaged();
  {
    const CpuSession cpu(l.system, 0, *l.space);
    mm_struct& mm = l.space->mm();
    for (const arena& a : l.arenas)
      if (vm_munmap(mm, a.at, arena_bytes) != 0) l.outcome.fail("an arena cannot be unmapped");
    if (const s64 pages = get_mm_counter(mm, MM_ANONPAGES); pages != 0)
      l.outcome.fail(fmt::format("nothing is mapped, and {} pages are", pages));
    if (const s64 tables = get_mm_counter(mm, MM_PGTABLES); tables != 1)
      l.outcome.fail(fmt::format("nothing is mapped, and there are {} page tables", tables));
  }
  l.space.reset();
  l.pressure.reset();
  check_frames(l);
}

} // namespace

outcome run_thp(const stress_options& options) {
  shared_state l(options);
  const totals t = run_workers<worker, totals>(l);
  check_contents(l);
  check_accounts(l);
  return outcome_of(
      l, {{"reads", t.reads},
          {"writes", t.writes},
          {"accesses by devices", t.device_accesses},
          {"accesses by virtual machines", t.shadow_accesses},
          {"pins written and read through", t.pins},
          {"mmap, munmap, mprotect, madvise", t.maps},
          {"reads before the first store", t.reads_of_zeros},
          {"faults that got the huge page of zeros", l.system.huge_pages().statistics().zero_page_mapped},
          {"collapses", t.collapses},
          {"collapses by khugepaged", l.system.huge_pages().statistics().pages_collapsed},
          {"splits of folios", t.splits},
          {"moves", t.moves},
          {"mremaps", t.remaps},
          {"agings", t.agings},
          {"accesses rightly refused", t.refused},
          {"calls that found no memory", t.no_memory}});
}

} // namespace racewalk::cli::stress
