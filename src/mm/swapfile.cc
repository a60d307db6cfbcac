#include "mm/swapfile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <thread>

#include "mm/ksm.h"
#include "mm/memory.h"
#include "mm/page_alloc.h"
#include "mm/page_lock.h"
#include "mm/pagewalk.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "mm/slab.h"
#include "mm/vma.h"
#include "mm/vmscan.h"
#include "mm/workingset.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

swap_info& the_swap() { return *machine().swap; }

} // namespace

swap_info::~swap_info() {
  if (fd >= 0) ::close(fd);
}

// ---- slots -----------------------------------------------------------------------------------------------

namespace {

using slot = swap_info::slot;

ksm_stable_node& node_of(const slot& s) {
  return *reinterpret_cast<ksm_stable_node*>(static_cast<uintptr_t>(s.mapping.get() & ~slot::KSM));
}

/// What a slot of the folio remembers of it.
u64 mapping_to_remember(const folio* folio) {
  const u64 mapping = folio->page.mapping.get();
  const u64 flags = READ_ONCE(folio->page.flags);
  if ((flags & BIT(PG_ksm)) == 0) return mapping | ((flags & BIT(PG_anon)) != 0 ? 0 : slot::SHMEM);
  ksm_get_node(*folio_stable_node(folio));
  return mapping | slot::KSM;
}

/// Nobody names the slot any more, and it has no folio.
void slot_became_free(swap_info& swap, u64 n) REQUIRES(swap.lock) {
  if (swap.inuse.get() + 1 >= swap.max) swap.next.set(n); // there is no other to be found
  swap.inuse.set(swap.inuse.get() - 1);
  slot& s = swap.slots[n];
  if ((s.mapping.get() & slot::KSM) == 0) return;
  ksm_put_node(node_of(s));
  s.mapping.set(0);
}

/// One entry more names a slot in use.
void add_entry(swap_info& swap, slot& s) REQUIRES(swap.lock) {
  if (s.only_has_cache()) swap.cached.set(swap.cached.get() - 1);
  s.count.set(s.count.get() + 1);
}

/// One entry less. The slot is free if that was the last to name it and it has no folio.
void drop_entry(swap_info& swap, u64 n) REQUIRES(swap.lock) {
  slot& s = swap.slots[n];
  const u32 count = s.count.get();
  VM_BUG_ON(count == 0, "INV-REF", "an entry is gone that a slot of the swap file had not counted");
  s.count.set(count - 1);
  if (s.only_has_cache()) swap.cached.set(swap.cached.get() + 1);
  if (s.is_free()) slot_became_free(swap, n);
}

/// The slot whose turn it is.
u64 next_slot(swap_info& swap) REQUIRES(swap.lock) {
  const u64 n = swap.next.get();
  swap.next.set(n + 1 < swap.max ? n + 1 : 1);
  return n;
}

/// The next free slot; 0: none.
u64 find_free_slot(swap_info& swap) REQUIRES(swap.lock) {
  if (!swap.writeok || swap.inuse.get() + 1 >= swap.max) return 0;
  for (;;)
    if (const u64 n = next_slot(swap); swap.slots[n].is_free()) return n;
}

u64 slot_of(const folio* folio) { return folio->page.private_.get(); }

folio* folio_in(const slot& s) {
  const pfn_t frame = s.folio.get();
  return frame == 0 ? nullptr : page_folio(pfn_to_page(frame));
}

/// Makes a locked folio the content of a slot.
void set_folio(slot& s, u64 n, folio* folio) {
  s.folio.set(static_cast<u32>(folio_pfn(folio)));
  folio->page.private_.set(n);
  folio_get(folio);
  folio_set_swapcache(folio);
}

/// The same of a slot that has none.
void put_in_cache(swap_info& swap, u64 n, folio* folio) REQUIRES(swap.lock) {
  slot& s = swap.slots[n];
  set_folio(s, n, folio);
  if (s.only_has_cache()) swap.cached.set(swap.cached.get() + 1);
}

/// The slot's folio is its content no more. The cache's reference is the caller's.
void take_out_of_cache(swap_info& swap, folio* folio) REQUIRES(swap.lock) {
  const u64 n = slot_of(folio);
  slot& s = swap.slots[n];
  if (s.only_has_cache()) swap.cached.set(swap.cached.get() - 1);
  s.folio.set(0);
  folio_clear_swapcache(folio);
  if (s.is_free()) slot_became_free(swap, n);
}

} // namespace

bool swap_has_room() {
  if (!swap_possible()) return false;
  const swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  return swap.writeok && (swap.inuse.get() + 1 < swap.max || swap.cached.get() != 0);
}

bool vm_swap_full() {
  const swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  return !swap.writeok || 2 * swap.inuse.get() >= swap.max; // of slots there are max - 1
}

void swap_duplicate(swp_entry_t entry) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  slot& s = swap.slots[swp_slot(entry)];
  VM_BUG_ON(s.is_free(), "INV-REF", "an entry names a free slot of the swap file");
  add_entry(swap, s);
}

void swap_free(swp_entry_t entry) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  drop_entry(swap, swp_slot(entry));
}

// ---- slots that only have the cache ----------------------------------------------------------------------

namespace {

/// The folio of such a slot, with a reference; null if there is none to be had.
folio* get_only_cached(swap_info& swap, u64 n) REQUIRES(swap.lock) {
  const slot& s = swap.slots[n];
  if (!s.only_has_cache()) return nullptr;
  folio* folio = folio_in(s);
  return folio_try_get(folio) ? folio : nullptr; // frozen: somebody is taking it out, or moving it
}

/// Whose slot is given back.
enum class ttrs : u8 {
  anyway,
  unmapped, ///< a folio's that nobody maps
};

/// Gives the folio's slot back, if it only has the cache. Not if the folio is locked, which may be by the
/// caller. Caller has a reference, and may hold any spinlock.
bool try_to_reclaim_swap(folio* folio, ttrs which) {
  if (!folio_trylock(folio)) return false;
  const bool freed = (which == ttrs::anyway || !folio_mapped(folio)) && folio_free_swap(folio);
  folio_unlock(folio);
  return freed;
}

/// The same of a folio whose reference this drops.
bool put_and_reclaim_swap(folio* folio, ttrs which) {
  const bool freed = try_to_reclaim_swap(folio, which);
  folio_put(folio);
  return freed;
}

/// The same of all slots.
void reclaim_swap_slots(ttrs which) {
  swap_info& swap = the_swap();
  const auto nth = [&swap](u64 n) {
    spin_guard guard(swap.lock);
    return n < swap.max ? get_only_cached(swap, n) : nullptr;
  };
  u64 end = 0;
  {
    spin_guard guard(swap.lock);
    if (swap.cached.get() != 0) end = swap.max;
  }
  for (u64 n = 1; n < end; ++n)
    if (folio* cached = nth(n)) (void)put_and_reclaim_swap(cached, which);
}

/// There is no free slot: makes one. False if each is named by an entry, or has a folio that is in use by
/// somebody else.
bool reclaim_full_swap() {
  swap_info& swap = the_swap();
  u64 tries = 0;
  const auto next = [&]() -> folio* {
    spin_guard guard(swap.lock);
    for (; tries + 1 < swap.max && swap.cached.get() != 0; ++tries)
      if (folio* cached = get_only_cached(swap, next_slot(swap))) return cached;
    return nullptr;
  };
  for (folio* cached; (cached = next()) != nullptr; ++tries)
    if (put_and_reclaim_swap(cached, ttrs::anyway)) return true;
  return false;
}

} // namespace

void free_swap_cache(folio* folio) {
  if (folio_in_swap_cache(folio)) (void)try_to_reclaim_swap(folio, ttrs::unmapped);
}

void free_page_and_swap_cache(page* page) {
  folio* folio = page_folio(page);
  free_swap_cache(folio);
  folio_put(folio);
}

void free_swap_and_cache(swp_entry_t entry) {
  swap_info& swap = the_swap();
  folio* cached = nullptr;
  {
    spin_guard guard(swap.lock);
    drop_entry(swap, swp_slot(entry));
    cached = get_only_cached(swap, swp_slot(entry));
  }
  if (cached != nullptr) (void)put_and_reclaim_swap(cached, vm_swap_full() ? ttrs::anyway : ttrs::unmapped);
}

void free_unused_swap_cache() {
  if (swap_possible()) reclaim_swap_slots(ttrs::unmapped);
}

// ---- the swap cache --------------------------------------------------------------------------------------

namespace {

/// A slot for a locked folio. False: there is no free one.
bool get_swap_page(folio* folio) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  const u64 n = find_free_slot(swap);
  if (n == 0) return false;
  slot& s = swap.slots[n];
  swap.inuse.set(swap.inuse.get() + 1);
  s.mapping.set(mapping_to_remember(folio));
  s.index.set(folio->page.index.get());
  folio_set_dirty(folio); // the file does not have it yet
  put_in_cache(swap, n, folio);
  return true;
}

} // namespace

bool add_to_swap(folio* folio) {
  while (!get_swap_page(folio))
    if (!reclaim_full_swap()) return false;
  return true;
}

swp_entry_t swap_entry_of(const folio* folio, bool exclusive) {
  return make_swap_entry(slot_of(folio), exclusive);
}

void delete_from_swap_cache(folio* folio) {
  {
    swap_info& swap = the_swap();
    spin_guard guard(swap.lock);
    take_out_of_cache(swap, folio);
  }
  folio_set_dirty(folio);
  folio_put(folio);
}

bool folio_free_swap(folio* folio) {
  if (!folio_in_swap_cache(folio)) return false;
  {
    swap_info& swap = the_swap();
    spin_guard guard(swap.lock);
    if (policy().free_swap_counts_entries && swap.slots[slot_of(folio)].count.get() != 0) return false;
  }
  delete_from_swap_cache(folio); // with the folio lock nobody makes an entry for it
  return true;
}

void swap_cache_replace_folio(folio* from, folio* to) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  const u64 n = slot_of(from);
  folio_clear_swapcache(from);
  set_folio(swap.slots[n], n, to);
}

namespace {

/// The file does not have what an entry may still ask for.
bool is_needed(const swap_info& swap, const folio* folio) REQUIRES(swap.lock) {
  return folio_test_dirty(folio) && swap.slots[slot_of(folio)].count.get() != 0;
}

} // namespace

bool remove_from_swap_cache(folio* folio) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  const u64 n = slot_of(folio);
  if (!policy().drop_freezes_first && is_needed(swap, folio)) return false;
  // References, then dirtiness, as in freeze_if_clean(): pairs with folio_put() of who has dirtied it.
  if (!folio_ref_freeze(folio, 2)) return false;
  if (policy().drop_freezes_first && is_needed(swap, folio)) {
    folio_ref_unfreeze(folio, 2);
    return false;
  }
  // While it was back it may have been moved to its only user's anon_vma (folio_move_anon_rmap()).
  if ((READ_ONCE(folio->page.flags) & (BIT(PG_anon) | BIT(PG_ksm))) == BIT(PG_anon))
    swap.slots[n].mapping.set(folio->page.mapping.get());
  take_out_of_cache(swap, folio);
  workingset_eviction(&swap, n);
  return true;
}

bool swap_holds_ksm(swp_entry_t entry) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  return swp_slot(entry) < swap.max && (swap.slots[swp_slot(entry)].mapping.get() & slot::KSM) != 0;
}

folio* swap_cache_get_folio(swp_entry_t entry) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  if (swp_slot(entry) >= swap.max) return nullptr;
  folio* folio = folio_in(swap.slots[swp_slot(entry)]);
  return folio != nullptr && folio_try_get(folio) ? folio : nullptr;
}

namespace {

/// Makes a new, locked folio what the slot's was.
void recall(const slot& s, folio* folio) {
  const u64 mapping = s.mapping.get();
  folio->page.index.set(s.index.get());
  if ((mapping & slot::KSM) != 0) return folio_set_stable_node(folio, node_of(s));
  const bool shmem = (mapping & slot::SHMEM) != 0;
  folio->page.mapping.set(shmem ? 0 : mapping); // a file's page has it when it is back in the page cache
  atomic_or(folio->page.flags, BIT(PG_swapbacked) | (shmem ? 0 : BIT(PG_anon)));
}

/// Makes a new, locked folio the content of the entry's slot. False if nobody names it, or it has one.
bool add_to_swap_cache(swp_entry_t entry, folio* folio) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  if (swp_slot(entry) >= swap.max) return false;
  slot& s = swap.slots[swp_slot(entry)];
  if (s.count.get() == 0 || s.folio.get() != 0) return false;
  recall(s, folio);
  put_in_cache(swap, swp_slot(entry), folio);
  return true;
}

} // namespace

swapin_result swap_cache_lock_folio(folio* folio, swp_entry_t entry) {
  folio_lock(folio);
  // While this waited the slot may have got another folio, and an entry may name it again (M45).
  if (!policy().swapin_rechecks_folio || (folio_test_swapcache(folio) && slot_of(folio) == swp_slot(entry)))
    return {fault_result::handled, folio};
  folio_unlock(folio);
  folio_put(folio);
  return {fault_result::handled, nullptr};
}

swapin_result swap_cache_alloc_folio(swp_entry_t entry) {
  page* page = alloc_page(GFP_KERNEL);
  if (page == nullptr) return {fault_result::oom, nullptr};
  folio* folio = page_folio(page);
  const bool locked = folio_trylock(folio);
  VM_BUG_ON(!locked, "INV-REF", "somebody has locked a new folio");
  if (add_to_swap_cache(entry, folio)) {
    workingset_refault(folio, &the_swap(), swp_slot(entry));
    return {fault_result::handled, folio};
  }
  folio_unlock(folio); // another CPU was faster, or the entry is gone
  folio_put(folio);
  return {fault_result::handled, nullptr};
}

namespace {

/// It has been read, or could not be: then it leaves the cache.
void finish_read(folio* folio, bool success) {
  if (success) {
    count_vm_events(PSWPIN);
    folio_set_uptodate(folio);
  } else {
    delete_from_swap_cache(folio);
  }
}

} // namespace

void swap_end_read(folio* folio, bool success) {
  finish_read(folio, success);
  folio_unlock(folio);
  // Who has given the slot back meanwhile has left it the folio, which was locked.
  free_page_and_swap_cache(&folio->page);
}

bool swap_read_folios(std::span<folio* const> run, const folio* own) {
  swap_info& swap = the_swap();
  const u64 done = swap.fail_read.should_fail() ? 0 : swap.ops->read(swap, slot_of(run.front()), run);
  bool success = true;
  for (u64 n = 0; n < run.size(); ++n) {
    if (run[n] == own && n < done)
      finish_read(run[n], true); // the caller's, as it is
    else
      swap_end_read(run[n], n < done);
    if (run[n] == own) success = n < done;
  }
  return success;
}

swapin_result swapin_folio(swp_entry_t entry) {
  if (folio* cached = swap_cache_get_folio(entry)) return swap_cache_lock_folio(cached, entry);
  const swapin_result made = swap_cache_alloc_folio(entry);
  if (made.folio == nullptr) return made;
  if (swap_read_folios(std::span(&made.folio, 1), made.folio)) return made;
  return {fault_result::sigbus, nullptr};
}

int swapin_errno(fault_result result) {
  if (result == fault_result::oom) return -ENOMEM;
  return result == fault_result::sigbus ? -EIO : 0;
}

address_space* swap_next_shmem(u64* n, u64* index) {
  swap_info& swap = the_swap();
  spin_guard guard(swap.lock);
  while (++*n < swap.max) {
    const slot& s = swap.slots[*n];
    const u64 owner = s.mapping.get();
    if (s.count.get() == 0 || (owner & slot::SHMEM) == 0) continue;
    // As long as the slot is counted the inode is there: the last to use it gives its slots back first
    // (evict_inode()). He may be at that.
    auto* mapping = reinterpret_cast<address_space*>(static_cast<uintptr_t>(owner & ~slot::SHMEM));
    *index = s.index.get();
    if (atomic_inc_not_zero(mapping->host.i_count)) return mapping;
  }
  return nullptr;
}

namespace {

/// The folio is on its way out.
void begin_write(folio* folio) {
  // A full barrier: dirtiness, then the content. Pairs with the one between a store through a reference and
  // folio_mark_dirty(): what is not written makes it dirty again.
  (void)folio_test_clear_dirty(folio);
  folio_set_writeback(folio);
}

/// The folio's slot has its content, or it is dirty still.
void end_write(folio* folio, bool success) {
  // before it ends: at no time does it look clean without being there
  if (!success) folio_set_dirty(folio);
  folio_clear_writeback(folio);
  wake_up_all(folio->page.flags);
}

} // namespace

void swap_writepages(std::span<folio*> folios) {
  swap_info& swap = the_swap();
  std::sort(folios.begin(), folios.end(),
            [](const folio* a, const folio* b) { return slot_of(a) < slot_of(b); });
  swap_run runs[SWAP_CLUSTER_MAX];
  unsigned nr = 0;
  u64 next = 0; // the slot behind the last run
  for (folio*& folio : folios) {
    if (swap.fail_write.should_fail()) continue; // it stays
    if (nr == 0 || slot_of(folio) != next) runs[nr++] = {slot_of(folio), std::span(&folio, 0)};
    swap_run& run = runs[nr - 1];
    run.folios = std::span(run.folios.data(), run.folios.size() + 1);
    next = slot_of(folio) + 1;
    begin_write(folio);
  }
  if (nr == 0) return;
  swap.ops->write(swap, std::span(runs, nr));
  for (const swap_run& run : std::span(runs, nr)) {
    for (u64 n = 0; n < run.folios.size(); ++n)
      end_write(run.folios[n], n < run.done);
    count_vm_events(PSWPOUT, run.done);
  }
}

// ---- swapon, swapoff -------------------------------------------------------------------------------------

namespace {

/// Room on the disk for all of the file, unless its file system cannot say: what goes out is not refused for
/// want of it, and nobody waits while the host looks for it (Linux takes no file with holes). 0 or a negative
/// errno.
int allocate_blocks(int fd, off_t bytes) {
  int error;
  do
    error = ::fallocate(fd, 0, 0, bytes) == 0 ? 0 : -errno;
  while (error == -EINTR);
  if (error == 0 || error == -EOPNOTSUPP) return 0;
  (void)!::ftruncate(fd, 0); // what it has got is others'
  return error;
}

int size_swap_file(int fd, off_t bytes) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return -errno;
  if (!S_ISREG(st.st_mode)) return -EINVAL;
  return ::ftruncate(fd, bytes) == 0 ? allocate_blocks(fd, bytes) : -errno;
}

/// Opens and sizes the file. What is there is in no memory: it is read and written past the host's page
/// cache, unless its file system cannot do that. A descriptor or a negative errno.
int open_swap_file(const std::string& path, u64 bytes) {
  constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK;
  int fd = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (fd < 0 && errno == EINVAL) fd = ::open(path.c_str(), flags, 0600);
  if (fd < 0) return -errno;
  const int error = size_swap_file(fd, static_cast<off_t>(bytes));
  if (error == 0) return fd;
  ::close(fd);
  return error;
}

} // namespace

int swapon(swap_info& swap, const std::string& path, u64 bytes, const swap_operations& ops,
           host_io_queue& io) {
  const std::lock_guard one_at_a_time(swap.swapon_mutex);
  if (swap.on) return -EBUSY;
  const u64 max = bytes >> PAGE_SHIFT;
  if (max < 2 || max >= swp_exclusive(arch())) return -EINVAL;
  std::unique_ptr<slot[]> slots(kmalloc_objs<slot>(max));
  if (slots == nullptr) return -ENOMEM;
  const int fd = open_swap_file(path, max << PAGE_SHIFT);
  if (fd < 0) return fd;
  swap.fd = fd;
  swap.ops = &ops;
  swap.io = &io;
  spin_guard guard(swap.lock);
  swap.slots = std::move(slots);
  swap.max = max;
  swap.next.set(1);
  swap.writeok = true;
  swap.on = true;
  return 0;
}

namespace {

/// The entry for `addr`, as it is now.
bool is_swapped(const pmdp_t& pmdp, vaddr_t addr) {
  const pte_map table(pmdp);
  if (!table) return false;
  const pte_t pte = ptep_get_lockless(table.at(addr));
  return is_swap_pte(pte) && is_swap_entry(pte_to_swp_entry(pte));
}

/// Brings back what the area has in the swap file. Caller holds the mmap_lock.
int unuse_vma(vm_area_struct& vma) {
  int error = 0;
  const vaddr_t start = vma.vm_start.get();
  const vaddr_t end = vma.vm_end.get();
  walk_pmd_entries(*vma.vm_mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    for (; addr < next && error == 0; addr += PAGE_SIZE)
      while (error == 0 && is_swapped(pmdp, addr))
        error = swapin_errno(handle_mm_fault(vma, addr, FAULT_FLAG_NONE));
  });
  return error;
}

int unuse_mm(mm_struct& mm) {
  int error = 0;
  mm.for_each_region([&](mmap_region& region) {
    read_guard mmap_lock(region.mmap_lock);
    for_each_vma(region, region.start, region.end, [&](vm_area_struct& vma) {
      if (error == 0) error = unuse_vma(vma);
    });
  });
  return error;
}

int unuse_all(mm_list& mms) {
  bool wrapped = false;
  int error = shmem_unuse();
  mm_struct* mm = mms.next(nullptr, &wrapped);
  while (mm != nullptr && !wrapped && error == 0) {
    if (const mm_user user(mms, mm); user) error = unuse_mm(*mm);
    mm = mms.next(mm, &wrapped);
  }
  reclaim_swap_slots(ttrs::anyway);
  return error;
}

/// No new slots, or some again.
void allow_slots(swap_info& swap, bool allowed) {
  spin_guard guard(swap.lock);
  swap.writeok = allowed;
}

/// With the last page the file is let go.
bool let_go_if_unused(swap_info& swap) {
  spin_guard guard(swap.lock);
  if (swap.inuse.get() != 0) return false;
  swap.max = 0;
  swap.slots.reset();
  swap.on = false;
  return true;
}

} // namespace

int swapoff(swap_info& swap, mm_list& mms) {
  static constexpr unsigned ATTEMPTS = 1000; // mms that come and go are missed by a pass
  const std::lock_guard one_at_a_time(swap.swapon_mutex);
  if (!swap.on) return -EINVAL;
  allow_slots(swap, false);
  int error = 0;
  for (unsigned n = 0; n < ATTEMPTS && error == 0; ++n) {
    error = unuse_all(mms);
    if (error != 0 || !let_go_if_unused(swap)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(error == 0 ? 1 : 0));
      continue;
    }
    ::close(swap.fd);
    swap.fd = -1;
    return 0;
  }
  allow_slots(swap, true);
  return error != 0 ? error : -EBUSY;
}

} // namespace racewalk::inline RACEWALK_BACKEND
