// Swap: anonymous memory, and files made of memory, in a file of the host (Linux's mm/swapfile.c and
// mm/swap_state.c).
//
// The file is cut into slots of a page. A slot is in use while an entry of a page table or of a page cache
// (shmem.h) names it, which it counts, or a folio is its content in memory (the swap cache): on its way out
// until it is written and nobody uses it, on its way in until nobody else may come to ask for it. Slot 0 is
// never used.
//
// A page of anonymous memory that has come back keeps its slot, mapped as it is: if nobody stores to it until
// it goes again, it need not be written again. Room is more than that is worth when more than half of the
// slots are in use (vm_swap_full()): what comes back then leaves its slot at once, and what has one still
// loses it when it is found in use, or when there is no other slot for somebody else.
//
// Invariants: at most one folio is a slot's. It has PG_swapcache, its slot in private_, and a reference for
// that; these change under the folio lock and the swap lock. One that is clean, and so are the entries that
// map it, is what the slot has in the file; which is so of every folio whose slot an entry names, or the
// folio is dirty. A slot remembers where its folio was mapped when it left, so that who reads it first puts
// it where all who share it look for it (rmap.h); of which file it is a page, so that swapoff finds that; or
// the stable node of one that stands for others (ksm.h).
//
// The swap lock is inside page-table locks. What a slot lies on is its file's (swap_operations): under the
// explorer it is a word.
//
// What was swapped is brought back by do_swap_page() (memory.cc).
#pragma once

#include <span>
#include <string>

#include "arch/swapops.h"
#include "mm/fs.h"
#include "mm/mm_list.h"
#include "mm/mmzone.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Whether there may be pages in a swap file: where there is none, nothing is asked about it.
inline bool swap_possible() {
  return machine().swap != nullptr && machine().swap->on.load(std::memory_order_relaxed);
}
/// Whether the folio is a slot's content: then the swap cache has a reference to it.
inline bool folio_in_swap_cache(const folio* folio) { return swap_possible() && folio_test_swapcache(folio); }
/// Whether one more page may find room there.
[[nodiscard]] bool swap_has_room();
/// Whether slots are so few that none is kept for a page that is in memory.
[[nodiscard]] bool vm_swap_full();

/// What swapon() takes: a file of the host's, by its descriptor. Natively only (page_io.cc).
extern const swap_operations swap_file_operations;

/// Swaps to a file from now on, which is made if it is not there and whose content is lost; `bytes` is how
/// much of it is used. 0 or a negative errno: those of open(), ftruncate() and fallocate(), -EBUSY if there
/// is a swap file already, -EINVAL if it is no regular file, for fewer than two pages or more than an entry
/// can name, -ENOMEM. `io`, for what `ops` reads ahead, lives as long as there is a swap file.
[[nodiscard]] int swapon(swap_info& swap, const std::string& path, u64 bytes, const swap_operations& ops,
                         host_io_queue& io);
/// Brings everything back, and uses the file no more. 0; -EINVAL if there is none; -ENOMEM if not all of it
/// has room, -EIO if a part cannot be read, -EBUSY if an entry stays that belongs to nobody in `mms`: then
/// the swap file stays. Caller is a CPU that holds no lock.
[[nodiscard]] int swapoff(swap_info& swap, mm_list& mms);

// ---- slots and their entries -----------------------------------------------------------------------------

/// One more entry names the slot. Caller holds the lock of one that does, or that of the slot's folio.
void swap_duplicate(swp_entry_t entry);
/// One entry less; the caller sees to the folio in the cache.
void swap_free(swp_entry_t entry);
/// One entry less; with the last one the folio in the cache goes too, unless it is mapped and there is room.
/// Any spinlock may be held.
void free_swap_and_cache(swp_entry_t entry);
/// Whether the slot has a page that stands for others (ksm.h).
[[nodiscard]] bool swap_holds_ksm(swp_entry_t entry);

// ---- the swap cache --------------------------------------------------------------------------------------

/// Makes a folio of anonymous memory, or of a file made of memory, the content of a new slot; it is dirty
/// then. False: there is no room. Caller holds the folio lock.
[[nodiscard]] bool add_to_swap(folio* folio);
/// The entry of the folio's slot. Caller holds the folio lock.
swp_entry_t swap_entry_of(const folio* folio, bool exclusive);
/// The folio is nobody's content any more, and dirty: it is all there is of it. Caller holds the folio lock
/// and a reference.
void delete_from_swap_cache(folio* folio);
/// The same if it has a slot that no entry names. Whether it has.
bool folio_free_swap(folio* folio);
/// The same if nobody maps the folio any more. Not if somebody has it locked: then it is left for reclaim to
/// find. Caller has a reference, and may hold any spinlock and the folio lock.
void free_swap_cache(folio* folio);
/// Drops the reference of an entry that is gone; with the last entry the slot goes, too.
void free_page_and_swap_cache(page* page);
/// Drops the folios that have been left so, but for those that somebody has locked just now.
void free_unused_swap_cache();
/// A frozen folio moves to a new one, which is its slot's content from now on. The cache's reference to the
/// old one is the caller's. Caller holds both folio locks.
void swap_cache_replace_folio(folio* from, folio* to);
/// Freezes the folio at 0 and takes it out, if nobody but the caller uses it and the file has its content.
/// Caller holds the folio lock and one reference, which is to be freed with it.
[[nodiscard]] bool remove_from_swap_cache(folio* folio);

/// The folio of an entry's slot with its content: in the cache, locked and with a reference. Without one:
/// oom, sigbus if the file cannot be read, or handled if the entry may have changed. May sleep.
struct swapin_result {
  fault_result result;
  struct folio* folio;
};
swapin_result swapin_folio(swp_entry_t entry);
/// The same for a fault of the area at `addr`, behind `pmdp`: with the neighbours that are likely to be
/// wanted next (swap_state.cc).
swapin_result swapin_readahead(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, swp_entry_t entry);
/// The same for page `index` of a file made of memory.
swapin_result shmem_swapin_cluster(address_space& mapping, u64 index, swp_entry_t entry);
/// What such a result is to who makes a call: 0 or a negative errno.
int swapin_errno(fault_result result);
/// Begins to read into the cache what the area has in the swap file of [start, end), as far as there is
/// memory for it: slots that follow each other in one transfer. May sleep. Caller holds the area's vm_lock,
/// or the region's mmap_lock.
void swapin_range(const vm_area_struct& vma, vaddr_t start, vaddr_t end);
/// The same of pages [index, last] of a file made of memory.
void shmem_swapin_range(const address_space& mapping, u64 index, u64 last);

// The steps of swapin_folio().

/// The folio of the entry's slot, with a reference; null if it has none.
folio* swap_cache_get_folio(swp_entry_t entry);
/// The same, locked. Handled without it: it has left the cache while this waited for its lock.
swapin_result swap_cache_lock_folio(folio* folio, swp_entry_t entry);
/// A new folio as the content of the entry's slot, which is still to be read: locked and with a reference.
/// Without one: oom, or handled if the slot has a folio by now or nobody names it.
swapin_result swap_cache_alloc_folio(swp_entry_t entry);
/// Reads slots that follow each other into their new folios. `own`, if it is not null and one of them, stays
/// locked and with its reference; of the others both are given up. False: it could not be read, and is gone.
[[nodiscard]] bool swap_read_folios(std::span<folio* const> run, const folio* own);
/// A folio that nobody waits for has been read, or could not be: then it leaves the cache. Unlocks it and
/// drops the reference.
void swap_end_read(folio* folio, bool success);
/// At most so many slots are read for one that is asked for.
inline constexpr unsigned SWAP_RA_MAX = 8;

/// The next slot after `*n` that has a page of a file made of memory, whose inode gets a reference; null
/// if there is none. `*index`: which page it is.
address_space* swap_next_shmem(u64* n, u64* index);

/// Writes at most SWAP_CLUSTER_MAX dirty folios to their slots, neighbours in one transfer and all transfers
/// at once: each is clean then, or dirty still if that has failed. Sorts them. Caller holds the folio locks;
/// no CPU stores to them. May sleep.
void swap_writepages(std::span<folio*> folios);

} // namespace racewalk::inline RACEWALK_BACKEND
