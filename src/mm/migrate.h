// Moving pages: other frames, same addresses, same content (M31).
//
// While a folio moves, its entries are migration entries: not present, and they say which page they stand
// for. They hold no reference, so that the mover can tell by the count that nobody else uses the folio.
// Whoever needs the page waits for the folio lock, which the mover holds from before the first such entry
// until after the last.
#pragma once

#include "arch/swapops.h"
#include "machine/machine.h"
#include "mm/mm_types.h"
#include "mm/tlbbatch.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The migration entry for page `pfn` that remembers what a present entry said, and whether the page was its
/// alone.
template <unsigned Level> swp_entry_t migration_entry_of(entry_t<Level> old, pfn_t pfn, bool exclusive) {
  swp_entry_t entry = arch().write(old.val, old.level()) ? make_writable_migration_entry(pfn)
                      : exclusive                        ? make_readable_exclusive_migration_entry(pfn)
                                                         : make_readable_migration_entry(pfn);
  if (arch().young(old.val, old.level())) entry = make_migration_entry_young(entry);
  if (arch().dirty(old.val, old.level())) entry = make_migration_entry_dirty(entry);
  return entry;
}

enum class split_entry : bool { no, yes };

/// Makes every entry that maps the folio a migration entry, except those of pages that are pinned. A huge
/// entry becomes one of its own, or with `split` a table of them. Until the caller has flushed `batch`, CPUs
/// may go on using the page. Caller holds the folio lock and a reference.
void try_to_migrate(folio* folio, split_entry split, tlbflush_unmap_batch& batch);
/// The same, and flushed: no CPU uses the folio through one of these entries any more.
void try_to_migrate(folio* folio, split_entry split);

/// Makes the migration entries for the `nr` pages from `from` on entries that map the pages from `to` on,
/// with a reference each. They stand where `to` would be mapped. Caller has locked both folios since before
/// try_to_migrate().
void remove_migration_ptes(page* from, page* to, u64 nr);

/// Waits until the entry for `addr` in a table is no longer the migration entry that it perhaps is. Caller
/// holds no lock that the mover needs.
void migration_entry_wait(const pmdp_t& pmdp, vaddr_t addr);
/// The same for a huge page's.
void pmd_migration_entry_wait(const pmdp_t& pmdp);

/// Moves the folio that is mapped at `addr` to other frames. 0; -ENOENT if none is; -EFAULT if none can be;
/// -EOPNOTSUPP if it is a file's; -EAGAIN if it is in use; -ENOMEM if there are no frames. On failure all is
/// as before. Caller holds no lock of the mm.
[[nodiscard]] int migrate_page_at(mm_struct& mm, vaddr_t addr);
/// Moves the small folio of anonymous memory that is in a frame to `to`, a new page; true also if it is about
/// to be freed, and need not be moved. False if something else is there, or it is in use. Any frame will do;
/// the caller may hold folio locks, and what a fault holds.
[[nodiscard]] bool migrate_frame(page* from, page* to);
/// Makes the folio that is mapped at `addr` single pages. 0, -ENOENT, -EFAULT or -EAGAIN. Locks as above.
[[nodiscard]] int split_page_at(mm_struct& mm, vaddr_t addr);

} // namespace racewalk::inline RACEWALK_BACKEND
