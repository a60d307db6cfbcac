// What is measured, and what each figure is meant to reach.
#include "bench/limited_process.h"
#include "bench/out_of_core.h"
#include "bench/racewalk_side.h"
#include "bench/workload.h"
#include "bench/workloads.h"

#include <fmt/format.h>

namespace racewalk::bench {
namespace {

using kind = goal::kind;

/// The figure that Work<Side>(arguments...) measures on both sides.
template <template <class> class Work, class... Arguments>
figure make_figure(const std::string& name, unsigned threads, std::uint64_t operations,
                   const std::vector<goal>& goals, Arguments... arguments) {
  return {.name = name,
          .threads = threads,
          .operations = operations,
          .ours = [=] { return std::make_unique<Work<racewalk_side>>(arguments...); },
          .kernel = [=] { return std::make_unique<Work<kernel_side>>(arguments...); },
          .goals = goals};
}

template <class Side> using pins = pin_unpin<Side>;

const char* name_of(backing b) { return b == backing::huge_pages ? "2 MiB pages" : "4 KiB pages"; }

figure load_figure(const char* name, std::size_t bytes, pattern p, backing b, goal g) {
  return make_figure<loads>(fmt::format("{}, {}", name, name_of(b)), 1, loads<kernel_side>::per_iteration,
                            {g}, bytes, b, p);
}

figure_group load_figures() {
  figure_group group{"8-byte loads through a TLB hit", {}};
  for (const backing b : {backing::small_pages, backing::huge_pages}) {
    const auto add = [&](const char* name, std::size_t bytes, pattern p, goal g) {
      group.figures.push_back(load_figure(name, bytes, p, b, g));
    };
    add("64 KiB sequential", 64 * KiB, pattern::sequential, {kind::at_most_ratio, 1.1});
    add("64 MiB sequential", 64 * MiB, pattern::sequential, {kind::at_most_ratio, 1.1});
    add("1 GiB sequential", GiB, pattern::sequential, {kind::at_most_ratio, 1.1});
    add("64 KiB in spans", 64 * KiB, pattern::spans, {kind::at_most_ratio, 1.1});
    add("64 MiB in spans", 64 * MiB, pattern::spans, {kind::at_most_ratio, 1.1});
    add("1 GiB in spans", GiB, pattern::spans, {kind::at_most_ratio, 1.1});
    add("64 KiB random", 64 * KiB, pattern::random, {kind::at_most_added, 0.5});
    add("64 MiB random", 64 * MiB, pattern::random, {kind::at_most_added, 4});
    add("1 GiB random", GiB, pattern::random, {kind::at_most_added, 10});
    add("64 MiB gathered", 64 * MiB, pattern::gathered, {kind::at_most_ratio, 1.3});
    add("1 GiB gathered", GiB, pattern::gathered, {kind::at_most_ratio, 1.3});
  }
  return group;
}

figure_group fault_figures() {
  constexpr std::size_t small = 16 * MiB;
  constexpr std::size_t huge = 64 * MiB;
  return {"first touch of anonymous memory, per page",
          {make_figure<first_touch>("4 KiB", 1, small / page_bytes, {{kind::at_most, 450}}, small,
                                    backing::small_pages),
           make_figure<first_touch>("2 MiB", 1, huge / huge_page_bytes, {}, huge, backing::huge_pages)}};
}

figure_group map_figures() {
  figure_group group{"mmap and munmap of 4 KiB, per pair", {}};
  for (const bool touch : {false, true})
    for (const unsigned threads : {1U, 2U}) {
      std::vector<goal> goals;
      if (!touch) goals.push_back(threads == 1 ? goal{kind::at_most, 300} : goal{kind::scales, 1.8});
      group.figures.push_back(make_figure<map_unmap>(touch ? "mmap, touch, munmap" : "mmap, munmap", threads,
                                                     1, goals, threads, page_bytes, backing::small_pages,
                                                     touch));
    }
  return group;
}

figure_group unmap_figures() {
  figure_group group{"munmap with a second CPU in the mm, per call", {}};
  for (const std::size_t pages : {1U, 512U})
    for (const peer p : {peer::asleep, peer::busy}) {
      std::vector<goal> goals;
      if (pages == 1) goals.push_back({kind::at_most, 1000});
      const std::string name = fmt::format("{} touched page{}, peer {}", pages, pages == 1 ? "" : "s",
                                           p == peer::asleep ? "asleep" : "busy");
      group.figures.push_back(make_figure<unmap_with_peer>(name, 1, 1, goals, pages, p));
    }
  return group;
}

figure_group pin_figures() {
  figure_group group{"pin and unpin, per page (kernel: through a pipe)", {}};
  for (const unsigned threads : {1U, 2U})
    for (const std::size_t pages : {1U, 16U, 256U}) {
      std::vector<goal> goals;
      if (threads == 1 && pages == 1) goals.push_back({kind::at_most, 25});
      if (threads == 1 && pages == 256) goals.push_back({kind::at_most, 6});
      const std::string name = fmt::format("{} page{} a call", pages, pages == 1 ? "" : "s");
      group.figures.push_back(make_figure<pins>(name, threads, pages, goals, threads, pages));
    }
  return group;
}

figure_group huge_page_figures() {
  const std::vector<goal> no_slower = {{kind::at_most_ratio, 1}};
  return {"huge pages, per call",
          {make_figure<collapse>("MADV_COLLAPSE of 512 pages", 1, 1, no_slower),
           make_figure<split>("MADV_DONTNEED of one of 512 pages", 1, 1, no_slower)}};
}

figure_group dirty_figures() {
  const std::vector<goal> no_slower = {{kind::at_most_ratio, 1}};
  const auto pages = [](std::size_t bytes) { return bytes / page_bytes; };
  const std::uint64_t written = pages(shared_write_fault<kernel_side>::bytes);
  const std::uint64_t forked = pages(fork_and_store<kernel_side>::bytes);
  const std::uint64_t cleared = pages(bench::clear_refs<kernel_side>::bytes);
  return {"dirty, shared and protected pages, per page",
          {make_figure<shared_write_fault>("store to a clean page of a file", 1, written, no_slower),
           make_figure<fork_and_store>("fork", 1, forked, no_slower, of_fork::call),
           make_figure<fork_and_store>("store after fork, copied", 1, forked, no_slower, of_fork::store),
           make_figure<bench::clear_refs>("clear_refs (accessed bits)", 1, cleared, no_slower),
           make_figure<protect_with_peer>("mprotect and back, peer busy", 1, 1, no_slower)}};
}

/// Written when the first figure is measured that needs it.
std::shared_ptr<const large_file> the_large_file() {
  static const auto file = std::make_shared<const large_file>();
  return file;
}

/// Accesses to what is larger than memory. `swap`: bytes of the swap file that the kernel is given.
template <class Ours, class Kernels>
figure out_of_core_figure(const char* name, unsigned threads, disk_access a, std::uint64_t iterations,
                          std::uint64_t swap, std::vector<goal> goals, std::vector<goal> direct_goals) {
  const auto kernel_work = [=]() -> std::unique_ptr<workload> {
    return std::make_unique<out_of_core<Kernels>>(threads, a, the_large_file());
  };
  return {.name = name,
          .threads = threads,
          .ours = [=] { return std::make_unique<out_of_core<Ours>>(threads, a, the_large_file()); },
          .kernel =
              [=] {
                the_large_file(); // before the process is made that has it, too
                return in_limited_process({.memory = core_bytes, .swap = swap}, kernel_work);
              },
          .goals = std::move(goals),
          .iterations = iterations,
          .direct = [=] { return make_direct_io(threads, a, the_large_file()); },
          .direct_goals = std::move(direct_goals)};
}

constexpr std::uint64_t out_of_core_accesses = 65536; // of all threads

/// A file of four times the memory.
figure_group out_of_core_figures() {
  const auto make = [](const char* name, unsigned threads, disk_access a, std::uint64_t iterations) {
    return out_of_core_figure<limited_racewalk, limited_kernel>(
        name, threads, a, iterations, 0, {{kind::at_most_ratio, 0.67}}, {{kind::at_most_ratio, 1.25}});
  };
  constexpr std::uint64_t accesses = out_of_core_accesses;
  figure_group group{"a file of 1 GiB in 256 MiB of memory", {}};
  group.figures.push_back(make("sequential scan, per page", 1, disk_access::scan, file_bytes / page_bytes));
  for (const unsigned threads : {2U, 16U})
    group.figures.push_back(make("random loads", threads, disk_access::load, accesses / threads));
  group.figures.push_back(make("random loads, gathered", 2, disk_access::gather, accesses / 2));
  for (const unsigned threads : {2U, 16U})
    group.figures.push_back(
        make("random loads and stores", threads, disk_access::load_store, accesses / threads));
  return group;
}

/// Anonymous memory of four times what there is. Direct I/O to a file is what a program would do that keeps
/// it there itself.
figure_group swap_figures() {
  const auto make = [](const char* name, unsigned threads, disk_access a, std::uint64_t iterations) {
    return out_of_core_figure<swapping_racewalk, swapping_kernel>(name, threads, a, iterations, swap_bytes,
                                                                  {{kind::at_most_ratio, 1}}, {});
  };
  return {"1 GiB of anonymous memory in 256 MiB",
          {make("swapped scan, per page", 1, disk_access::scan, file_bytes / page_bytes),
           make("swapped random loads", 2, disk_access::load, out_of_core_accesses / 8),
           // so many that pages which were stored to go, too
           make("swapped random loads and stores", 2, disk_access::load_store, out_of_core_accesses)}};
}

figure_group move_figures() {
  using of_kernel = move_pages<kernel_side>;
  return {"pages moved to other frames, per page (kernel: compact_memory)",
          {{.name = "4 KiB",
            .operations = of_kernel::bytes / page_bytes,
            .ours = [] { return std::make_unique<move_pages<racewalk_side>>(); },
            .kernel = []() -> std::unique_ptr<workload> {
              if (!kernel_side::cpu::can_move_pages()) return nullptr;
              return std::make_unique<of_kernel>();
            },
            .goals = {{kind::at_most_ratio, 1}},
            .iterations = 1}}};
}

figure_group userfault_figures() {
  return {"userfaultfd, per page",
          {make_figure<userfault_round_trip>("missing fault, handled", 1, 1, {{kind::at_most_ratio, 1}})}};
}

figure_group scale_figures() {
  constexpr std::size_t memory = 128 * MiB;
  constexpr std::uint64_t pages = memory / page_bytes;
  figure_group group{"the shapes of will-it-scale", {}};
  for (const unsigned threads : {1U, 2U}) {
    const std::vector<goal> ahead = {{kind::at_most_ratio, 1}};
    const auto map = [&](const char* name, std::uint64_t operations, backing b, bool touch) {
      group.figures.push_back(
          make_figure<map_unmap>(name, threads, operations, ahead, threads, memory, b, touch));
    };
    const auto flush = [&](const char* name, std::size_t bytes, backing b) {
      group.figures.push_back(
          make_figure<touch_and_drop>(name, threads, bytes / page_bytes, ahead, threads, bytes, b));
    };
    map("page_fault1", pages, backing::small_pages, true);
    map("mmap1", 1, backing::small_pages, false);
    map("mmap2", 1, backing::private_file, false);
    flush("tlb_flush1", memory, backing::private_file);
    flush("tlb_flush2", MiB, backing::small_pages);
    flush("tlb_flush3", memory, backing::shared_file);
  }
  return group;
}

} // namespace

std::vector<figure_group> figures() {
  return {load_figures(),      fault_figures(), map_figures(),         unmap_figures(),
          pin_figures(),       dirty_figures(), out_of_core_figures(), swap_figures(),
          huge_page_figures(), move_figures(),  userfault_figures(),   scale_figures()};
}

} // namespace racewalk::bench
