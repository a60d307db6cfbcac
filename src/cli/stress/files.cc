// `racewalk stress --mix files`: files of the host, mapped and written back under everybody's accesses, and
// files made of memory, which go to the swap file if there is one.
//
// Each thread owns a file, two mappings of it, and a copy of every byte that must be in it. It stores and
// loads by the mappings, by read() and write(), and by pins, as a device does; it cuts the file, makes it
// longer and punches holes; some of it in a child that maps the same. All threads, and the flusher, write
// back, take back and forget pages of all files meanwhile, open and close them.
//
// What is checked:
//   content     every byte that is read is the one that was written last, whichever way either went; what is
//               beyond the end of the file is refused, and zero when the file grows
//   durability  what fsync() and msync() have acknowledged is in the host's file
//   failures    a call that finds no memory loses nothing
//   accounting  at the end every frame has come back, and each host's file is what it should be
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cli/stress/mix.h"
#include "mm/gup.h"
#include "mm/mmap.h"
#include "racewalk/file.h"
#include "racewalk/writeback.h"

namespace racewalk::cli::stress {
namespace {

constexpr u64 file_pages = 96;
constexpr u64 part_pages = 8; // what is taken back or forgotten at a time
constexpr u64 file_bytes = file_pages * PAGE_SIZE;
constexpr unsigned operations_per_look = 32; // at the clock
constexpr std::size_t max_held_pins = 4;
constexpr unsigned max_attempts = 1000; // of a call that finds no memory
constexpr u64 memory_of(unsigned threads) { return (u64{16} << 20) + threads * file_bytes * 2; }

struct totals {
  std::uint64_t loads = 0;
  std::uint64_t stores = 0;
  std::uint64_t calls = 0;
  std::uint64_t pins = 0;
  std::uint64_t sizes = 0;
  std::uint64_t holes = 0;
  std::uint64_t syncs = 0;
  std::uint64_t taken_back = 0;
  std::uint64_t openings = 0;
  std::uint64_t children = 0;
  std::uint64_t refused = 0;
  std::uint64_t no_memory = 0;

  totals& operator+=(const totals& o) {
    loads += o.loads, stores += o.stores, calls += o.calls, pins += o.pins, sizes += o.sizes;
    holes += o.holes, syncs += o.syncs, taken_back += o.taken_back, openings += o.openings;
    children += o.children, refused += o.refused, no_memory += o.no_memory;
    return *this;
  }
};

/// Where a file's content is when it is not in use.
enum class backing : unsigned { host, past_page_cache, memory };

/// A file that one thread owns, and what must be in it.
struct owned_file {
  owned_file(System& system, AddressSpace& space, std::string name, backing on)
      : path(std::move(name)), on_host(on != backing::memory), opening(open(system, on)) {
    for (vaddr_t& at : mappings)
      at = space.mmap(opening, 0, file_bytes).value();
  }

  [[nodiscard]] u64 size() const { return content.size(); }

  const std::string path;
  const bool on_host;
  File opening;
  std::array<vaddr_t, 2> mappings{};
  std::vector<std::byte> content; ///< its size is the file's; only the owner's

 private:
  [[nodiscard]] File open(System& system, backing on) const {
    if (!on_host) return File::in_memory(system, 0).value();
    return File::open(system, path, O_RDWR | O_CREAT | (on == backing::host ? 0 : O_DIRECT)).value();
  }
};

/// What all threads share.
struct shared_state {
  explicit shared_state(const stress_options& o)
      : options(o), system(machine_bytes(o, memory_of(o.threads)), o.threads, PageTableCheck::on),
        free_at_start(system.free_frames()), pressure(std::in_place, system, o), space(std::in_place, system),
        flusher(std::in_place, system) {
    flusher
        ->tune({.dirty_writeback = std::chrono::milliseconds(2),
                .dirty_expire = std::chrono::milliseconds(5),
                .dirty_background_ratio = 2,
                .dirty_ratio = 4})
        .value();
    flusher->start();
    for (unsigned i = 0; i < o.threads; i++) // of each kind
      files.push_back(std::make_unique<owned_file>(system, *space, fmt::format("{}/{}", directory.path(), i),
                                                   static_cast<backing>(i % 3)));
  }

  const stress_options options;
  const temporary_directory directory;
  System system;
  const std::uint64_t free_at_start;
  std::optional<memory_pressure> pressure;
  std::optional<AddressSpace> space;
  std::optional<Writeback> flusher;
  std::vector<std::unique_ptr<owned_file>> files;
  verdict outcome;
};

/// Some bytes of a file.
struct range {
  u64 from;
  u64 bytes;
  [[nodiscard]] u64 end() const { return from + bytes; }
};

/// Says what differs from what was written, if anything does.
void compare(verdict& v, const owned_file& f, u64 from, const std::byte* found, u64 bytes, const char* by) {
  const std::byte* wanted = f.content.data() + from;
  const u64 n = static_cast<u64>(std::mismatch(found, found + bytes, wanted).first - found);
  if (n == bytes) return;
  v.fail(fmt::format("{} finds {:#x} at byte {} of {}, where {:#x} was written", by,
                     std::to_integer<unsigned>(found[n]), from + n, f.path,
                     std::to_integer<unsigned>(wanted[n])));
}

/// Looks at the host's file, past the library.
void compare_with_host(verdict& v, const owned_file& f, range r, const char* after) {
  if (!f.on_host) return;
  std::vector<std::byte> found(r.bytes);
  const int fd = ::open(f.path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t n = ::pread(fd, found.data(), r.bytes, static_cast<off_t>(r.from));
  ::close(fd);
  if (n != static_cast<ssize_t>(r.bytes))
    return v.fail(fmt::format("{}: the host has {} of {} bytes from {} on", after, n, r.bytes, r.from));
  compare(v, f, r.from, found.data(), r.bytes, after);
}

/// One CPU's share of the load.
class worker {
 public:
  worker(shared_state& l, unsigned id)
      : state_(l), id_(id), random_(l.options.seed * 1'000'003 + id), cpu_(l.system, id, *l.space),
        mine_(*l.files[id]) {}

  template <class Over> totals run(Over over) {
    while (!over())
      for (unsigned n = 0; n < operations_per_look && !state_.outcome.failed(); n++)
        step();
    for (page* p : held_)
      unpin_user_page(p);
    return done_;
  }

 private:
  u64 below(u64 n) { return random_() % n; }
  void expect(bool good, const char* what) {
    if (!good) state_.outcome.fail(fmt::format("CPU {}: {}", id_, what));
  }
  mm_struct& mm() { return state_.space->mm(); }
  owned_file& anybodys() { return *state_.files[below(state_.files.size())]; }
  vaddr_t any_mapping(const owned_file& f) { return f.mappings[below(f.mappings.size())]; }
  /// Bytes of my file that exist; none if it has none.
  range any_bytes(u64 most) {
    if (mine_.size() == 0) return {0, 0};
    const u64 from = below(mine_.size());
    return {from, 1 + below(std::min(most, mine_.size() - from))};
  }
  void fill(u64 bytes) {
    std::generate_n(buffer_.begin(), bytes,
                    [n = random_()]() mutable { return static_cast<std::byte>(n++); });
  }

  void step();
  void load();
  void gather();
  void store();
  void store_beyond_the_end();
  void read();
  void write();
  void access_by_pin();
  void resize();
  void punch();
  void sync();
  void map_again();
  void in_a_child();
  void disturb();
  void hold_pin();

  /// An access to a page that the file has was refused: for want of memory.
  void refused(fault_result why, const char* what) {
    done_.no_memory++;
    expect(why == fault_result::oom, what);
  }
  /// Whether a call succeeded; if not, for want of memory.
  template <class T> bool succeeded(const expected<T>& r, const char* what) {
    if (r) return true;
    done_.no_memory++;
    if (r.error() != std::errc::not_enough_memory)
      state_.outcome.fail(fmt::format("{}: {}", what, std::make_error_code(r.error()).message()));
    return false;
  }
  /// Calls until it succeeds.
  template <class F> void insist(const char* what, F call) {
    for (unsigned n = 0; n < max_attempts; n++)
      if (succeeded(call(), what) || state_.outcome.failed()) return;
    expect(false, what);
  }

  shared_state& state_;
  const unsigned id_;
  std::mt19937_64 random_;
  CpuSession cpu_;
  owned_file& mine_;
  std::vector<page*> held_;
  std::array<std::byte, 4 * PAGE_SIZE> buffer_{};
  totals done_;
};

// ---- accesses --------------------------------------------------------------------------------------------

void worker::load() {
  done_.loads++;
  const vaddr_t at = any_mapping(mine_);
  if (below(16) == 0) { // a page that the file does not have
    const u64 pages = (mine_.size() + PAGE_SIZE - 1) / PAGE_SIZE;
    if (pages == file_pages) return;
    const auto r = cpu_->load<u8>(at + (pages + below(file_pages - pages)) * PAGE_SIZE);
    done_.refused++;
    return expect(!r && (r.error() == fault_result::sigbus || r.error() == fault_result::oom),
                  "a load goes beyond the end of the file");
  }
  const range r = any_bytes(buffer_.size());
  if (const auto done = cpu_->copy_in(buffer_.data(), at + r.from, r.bytes); !done)
    return refused(done.error(), "a load is refused");
  compare(state_.outcome, mine_, r.from, buffer_.data(), r.bytes, "a load");
}

/// Bytes from all over the file at once.
void worker::gather() {
  if (mine_.size() == 0) return;
  std::array<vaddr_t, 24> from;
  std::array<u8, from.size()> found;
  std::array<u64, from.size()> at;
  for (unsigned n = 0; n < from.size(); n++) {
    at[n] = below(mine_.size());
    from[n] = any_mapping(mine_) + at[n];
  }
  done_.loads += from.size();
  if (const auto done = cpu_->gather<u8>(from, found); !done)
    return refused(done.error(), "a gather is refused");
  for (unsigned n = 0; n < from.size(); n++)
    compare(state_.outcome, mine_, at[n], reinterpret_cast<const std::byte*>(&found[n]), 1, "a gather");
}

void worker::store() {
  done_.stores++;
  const range r = any_bytes(PAGE_SIZE);
  const u64 bytes = std::min(r.bytes, PAGE_SIZE - r.from % PAGE_SIZE); // one page, or none
  fill(bytes);
  if (const auto done = cpu_->copy_out(any_mapping(mine_) + r.from, buffer_.data(), bytes); !done)
    return refused(done.error(), "a store is refused");
  std::copy_n(buffer_.begin(), bytes, mine_.content.begin() + static_cast<long>(r.from));
}

/// In the last page: nobody is ever to see it in the file.
void worker::store_beyond_the_end() {
  done_.stores++;
  const u64 rest = mine_.size() % PAGE_SIZE;
  if (rest == 0) return;
  if (const auto done = cpu_->store<u8>(any_mapping(mine_) + mine_.size() + below(PAGE_SIZE - rest), 0xee);
      !done)
    refused(done.error(), "a store to the last page is refused");
}

void worker::read() {
  done_.calls++;
  const u64 from = below(file_bytes + PAGE_SIZE);
  const u64 wanted = 1 + below(buffer_.size());
  const auto n = mine_.opening.read(from, std::span(buffer_).first(wanted));
  if (!succeeded(n, "read()")) return;
  const u64 there = from >= mine_.size() ? 0 : std::min(wanted, mine_.size() - from);
  if (*n < there) done_.no_memory++; // on the way
  expect(*n <= there, "read() goes beyond the end of the file");
  compare(state_.outcome, mine_, std::min(from, mine_.size()), buffer_.data(), std::min<u64>(*n, there),
          "read()");
}

void worker::write() {
  done_.calls++;
  const u64 from = below(file_bytes);
  const u64 wanted = 1 + below(std::min<u64>(buffer_.size(), file_bytes - from));
  fill(wanted);
  const auto n = mine_.opening.write(from, std::span(buffer_).first(wanted));
  if (!succeeded(n, "write()")) return;
  if (*n < wanted) done_.no_memory++;
  if (from + *n > mine_.size()) mine_.content.resize(from + *n);
  std::copy_n(buffer_.begin(), *n, mine_.content.begin() + static_cast<long>(from));
}

/// A few bytes, as a device stores them in a page that its driver has pinned.
void worker::access_by_pin() {
  done_.pins++;
  const range r = any_bytes(PAGE_SIZE);
  const u64 bytes = std::min(r.bytes, PAGE_SIZE - r.from % PAGE_SIZE);
  if (bytes == 0) return;
  auto pinned = state_.space->pin(any_mapping(mine_) + r.from / PAGE_SIZE * PAGE_SIZE, 1);
  if (!pinned) {
    done_.no_memory++; // which a fault that pins on its way does not tell from others
    return expect(state_.options.memory_is_short(), "a pin is refused");
  }
  std::byte* memory = (*pinned)[0].data() + r.from % PAGE_SIZE;
  copy_relaxed(buffer_.data(), memory, bytes);
  compare(state_.outcome, mine_, r.from, buffer_.data(), bytes, "a pin");
  fill(bytes);
  copy_relaxed(memory, buffer_.data(), bytes);
  std::copy_n(buffer_.begin(), bytes, mine_.content.begin() + static_cast<long>(r.from));
}

// ---- the file as a whole ---------------------------------------------------------------------------------

void worker::resize() {
  done_.sizes++;
  const u64 bytes = below(4) == 0 ? below(file_pages) * PAGE_SIZE : below(file_bytes);
  if (succeeded(mine_.opening.resize(bytes), "ftruncate()")) mine_.content.resize(bytes);
}

void worker::punch() {
  done_.holes++;
  const u64 from = below(file_bytes);
  const u64 bytes = 1 + below(8 * PAGE_SIZE);
  // for want of memory it may be done in part
  insist("fallocate()", [&] { return mine_.opening.punch_hole(from, bytes); });
  if (from < mine_.size())
    std::fill_n(mine_.content.begin() + static_cast<long>(from), std::min(bytes, mine_.size() - from),
                std::byte{});
}

void worker::sync() {
  done_.syncs++;
  if (below(2) == 0) {
    if (succeeded(below(2) == 0 ? mine_.opening.sync() : mine_.opening.datasync(), "fsync()"))
      compare_with_host(state_.outcome, mine_, {0, mine_.size()}, "after fsync()");
    return;
  }
  const u64 first = below(file_pages);
  const u64 bytes = (1 + below(file_pages - first)) * PAGE_SIZE;
  if (!succeeded(state_.space->msync(any_mapping(mine_) + first * PAGE_SIZE, bytes), "msync()")) return;
  const u64 from = std::min(first * PAGE_SIZE, mine_.size());
  compare_with_host(state_.outcome, mine_, {from, std::min(bytes, mine_.size() - from)}, "after msync()");
}

void worker::map_again() {
  vaddr_t& at = mine_.mappings[0]; // others use it meanwhile
  insist("mmap()", [&] { return state_.space->mmap_fixed(at, mine_.opening, 0, file_bytes); });
}

/// Another address space has the same files mapped at the same addresses.
void worker::in_a_child() {
  done_.children++;
  auto child = state_.space->fork();
  if (!succeeded(child, "fork()")) return;
  cpu_.switch_to(**child);
  for (u64 n = below(8); n > 0; n--)
    below(2) == 0 ? load() : store();
  cpu_.switch_to(*state_.space);
}

// ---- what anybody does to anybody's file -----------------------------------------------------------------

void worker::disturb() {
  owned_file& f = anybodys();
  const vaddr_t at = any_mapping(f) + below(file_pages / part_pages) * part_pages * PAGE_SIZE;
  switch (below(16)) {
  case 0:
    done_.syncs++;
    succeeded(state_.space->msync(at, part_pages * PAGE_SIZE), "msync()");
    break;
  case 1: {
    if (!f.on_host) break;
    done_.openings++;
    auto another = File::open(state_.system, f.path, O_RDWR);
    if (!succeeded(another, "open()")) break;
    expect(another->size() <= file_bytes, "a file is larger than it ever was");
    if (below(8) == 0) succeeded(another->datasync(), "fdatasync()");
    break;
  }
  case 2:
  case 3: // shared pages are only forgotten
    (void)vm_madvise(mm(), at, part_pages * PAGE_SIZE, MADV_DONTNEED);
    break;
  case 4:
    hold_pin();
    break;
  case 6: // as far as it is mapped
    done_.calls++;
    (void)vm_madvise(mm(), at, part_pages * PAGE_SIZE, MADV_WILLNEED);
    break;
  case 5:
    done_.taken_back++;
    (void)state_.system.reclaim().shrink(part_pages);
    break;
  default:
    done_.taken_back++;
    (void)vm_madvise(mm(), at, part_pages * PAGE_SIZE, MADV_PAGEOUT);
  }
}

/// Keeps a page in use for a while, whatever becomes of its file.
void worker::hold_pin() {
  const owned_file& f = anybodys();
  page* pinned = nullptr;
  if (pin_user_pages_fast(mm(), any_mapping(f) + below(file_pages) * PAGE_SIZE, 1, FOLL_NONE, &pinned) != 1)
    return;
  held_.push_back(pinned);
  if (held_.size() < max_held_pins) return;
  unpin_user_page(held_.front());
  held_.erase(held_.begin());
}

void worker::step() {
  const u64 dice = below(1000);
  if (dice < 280)
    load();
  else if (dice < 300)
    gather();
  else if (dice < 550)
    store();
  else if (dice < 570)
    store_beyond_the_end();
  else if (dice < 680)
    read();
  else if (dice < 800)
    write();
  else if (dice < 860)
    access_by_pin();
  else if (dice < 885)
    resize();
  else if (dice < 910)
    punch();
  else if (dice < 930)
    sync();
  else if (dice < 935)
    map_again();
  else if (dice < 938)
    in_a_child();
  else
    disturb();
}

// ---- the end ---------------------------------------------------------------------------------------------

/// What is in a file that is made of memory, wherever that is.
void compare_with_memory(verdict& v, owned_file& f) {
  std::vector<std::byte> found(f.size());
  if (f.opening.size() != f.size()) return v.fail("a file made of memory has another size");
  u64 done = 0;
  for (unsigned n = 0; n < max_attempts && done < f.size(); n++) // allocations may be made to fail
    if (const auto read = f.opening.read(done, std::span(found).subspan(done))) done += *read;
  if (done != f.size()) return v.fail("a file made of memory cannot be read");
  compare(v, f, 0, found.data(), f.size(), "the last read()");
}

/// Every file is written, given back, and looked at.
void check_the_end(shared_state& l) {
  for (auto& f : l.files) {
    if (!f->on_host) {
      compare_with_memory(l.outcome, *f);
      continue;
    }
    static_cast<void>(f->opening.sync()); // takes the errors of allocations that were made to fail
    if (!f->opening.sync()) l.outcome.fail("the last fsync() fails");
    compare_with_host(l.outcome, *f, {0, f->size()}, "after the last fsync()");
    if (std::filesystem::file_size(f->path) != f->size())
      l.outcome.fail("a file has another size on the host");
  }
  l.space.reset();
  l.files.clear();
  l.flusher.reset(); // which may have been the last to have a file
  l.pressure.reset();
  check_frames(l);
}

} // namespace

outcome run_files(const stress_options& options) {
  shared_state l(options);
  const totals t = run_workers<worker, totals>(l);
  const std::uint64_t written = l.flusher->statistics().written;
  check_the_end(l);
  return outcome_of(l, {{"loads", t.loads},
                        {"pages written in all", written},
                        {"stores", t.stores},
                        {"read() and write()", t.calls},
                        {"pins written through", t.pins},
                        {"changes of size", t.sizes},
                        {"holes punched", t.holes},
                        {"fsync() and msync()", t.syncs},
                        {"times pages were taken back", t.taken_back},
                        {"files opened once more", t.openings},
                        {"children", t.children},
                        {"accesses rightly refused", t.refused},
                        {"calls that found no memory", t.no_memory}});
}

} // namespace racewalk::cli::stress
