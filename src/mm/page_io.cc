// The swap file's transfers (Linux's mm/page_io.c): what somebody waits for is read by himself; what is read
// ahead, and what is written, has many transfers in flight. Natively only.
#include <algorithm>
#include <memory>

#include "mm/host_io_queue.h"
#include "mm/slab.h"
#include "mm/swapfile.h"
#include "mm/vmscan.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// The transfer between folios and slots from the first on.
host_io swap_io(const swap_info& swap, u64 first, std::span<folio* const> folios, iovec* vectors) {
  for (u64 n = 0; n < folios.size(); ++n)
    vectors[n] = {page_address(&folios[n]->page), PAGE_SIZE};
  return {swap.fd, first << PAGE_SHIFT, std::span(vectors, folios.size()), folios.size() * PAGE_SIZE};
}

u64 read_swap_file(swap_info& swap, u64 first, std::span<folio* const> folios) {
  iovec vectors[SWAP_CLUSTER_MAX];
  host_io io = swap_io(swap, first, folios, vectors);
  transfer(io_dir::read, io);
  return io.done / PAGE_SIZE;
}

void write_swap_file(swap_info& swap, std::span<swap_run> runs) {
  iovec vectors[SWAP_CLUSTER_MAX];
  host_io ios[SWAP_CLUSTER_MAX];
  iovec* next = vectors;
  for (u64 n = 0; n < runs.size(); ++n) {
    ios[n] = swap_io(swap, runs[n].slot, runs[n].folios, next);
    next += runs[n].folios.size();
  }
  swap.io->submit_and_wait(io_dir::write, std::span(ios, runs.size()));
  for (u64 n = 0; n < runs.size(); ++n)
    runs[n].done = ios[n].done / PAGE_SIZE;
}

/// Folios on their way in that nobody waits for; it is not moved.
class swap_read_run : public async_io {
 public:
  swap_read_run(const swap_info& swap, u64 first, std::span<folio* const> folios)
      : async_io{.dir = io_dir::read, .io = swap_io(swap, first, folios, vectors_), .done = end},
        nr_(static_cast<unsigned>(folios.size())) {
    std::copy(folios.begin(), folios.end(), folios_);
  }
  swap_read_run(const swap_read_run&) = delete;
  swap_read_run& operator=(const swap_read_run&) = delete;

 private:
  static void end(async_io& a) {
    const std::unique_ptr<swap_read_run> run(static_cast<swap_read_run*>(&a));
    for (u64 n = 0; n < run->nr_; ++n)
      swap_end_read(run->folios_[n], n < run->io.done / PAGE_SIZE);
  }

  const unsigned nr_;
  folio* folios_[SWAP_CLUSTER_MAX];
  iovec vectors_[SWAP_CLUSTER_MAX];
};

void readahead_swap_file(swap_info& swap, u64 first, std::span<folio* const> folios) {
  if (auto* run = kmalloc_obj<swap_read_run>(swap, first, folios)) return swap.io->submit(*run);
  for (folio* folio : folios)
    swap_end_read(folio, false); // without memory they are left to who wants them
}

} // namespace

const swap_operations swap_file_operations{
    .read = read_swap_file, .write = write_swap_file, .readahead = readahead_swap_file};

} // namespace racewalk::inline RACEWALK_BACKEND
