// Anonymous huge pages: one PMD entry that maps a folio of hpage_pmd_nr() pages.
#pragma once

#include "arch/swapops.h"
#include "mm/mm_types.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Whether the area is to have huge pages by itself, as its advice and the machine's mode (thp.h) say.
bool hugepage_wanted(const vm_area_struct& vma);
/// Whether a huge page at `addr` is wanted by the area, of anonymous memory, and lies inside it.
bool thp_vma_suitable(const vm_area_struct& vma, vaddr_t addr);

/// A zeroed huge page behind an entry that is none; to a fault that only reads, that of zeros, which is
/// everybody's (huge_zero_page.h). False if there is no such folio: try a small page. Caller
/// holds the area's vm_lock or the region's mmap_lock for reading.
[[nodiscard]] bool do_huge_pmd_anonymous_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp,
                                              fault_flags flags);

/// Puts an entry for a folio that nobody else can reach yet where none is, and deposits `table` for it; false
/// if an entry is there by now, and nothing has changed. `start` is what the entry maps first.
[[nodiscard]] bool install_huge_pmd(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, folio* folio,
                                    pmd_t entry, page* table);

/// Maps the whole of a huge folio of the file, which the caller has locked, where nothing is mapped. False if
/// something is by now.
bool set_huge_file_pmd(vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, folio* folio, fault_flags flags);
/// Maps a device's memory from frame `pfn` on by a huge entry, where nothing is mapped; where this is, grants
/// what the fault asks for. Takes no reference. fault_result::sigbus if a table is there. Locks as above.
fault_result vmf_insert_pfn_pmd(vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, pfn_t pfn,
                                fault_flags flags);
/// A fault of an area that maps a file, where no table is: maps the file's huge folio, if it has one there
/// that fits. False: small pages have to do. Locks as above.
[[nodiscard]] bool do_huge_file_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, fault_flags flags);

/// A huge entry that did not grant the access: grants it, or finds that it does by now. One for a folio that
/// other mms have too is split, and the access decides anew. Locks as above.
fault_result do_present_huge_pmd(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, pmd_t seen,
                                 fault_flags flags);

/// What became of a huge entry that a fork was to copy.
enum class copy_huge : u8 {
  copied,
  not_huge, ///< it is a table by now, perhaps because it had to be split: pages of it may be pinned
  no_memory,
};
/// Copies a huge entry, or a migration entry of one, for fork. Caller holds the mmap_lock of src's region and
/// src's vm_lock for writing, and has made write_protect_seq odd.
copy_huge copy_huge_pmd(vm_area_struct& dst, vm_area_struct& src, vaddr_t start, pmdp_t dst_pmdp,
                        pmdp_t src_pmdp);

/// A huge entry that lost its rights to tell who uses it gets them back (do_numa_page).
fault_result do_huge_pmd_numa_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, pmd_t seen);

/// Takes a huge entry out, or a migration entry of one. False if a table is there by now, and nothing has
/// changed. Caller holds the region's mmap_lock.
[[nodiscard]] bool zap_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp);

/// Gives a huge entry other rights; it never reads as none meanwhile (H14). False if it is none any more.
[[nodiscard]] bool change_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp, pgprot_t prot);

/// Whether an entry maps a huge page, or keeps the place of one that is being moved.
inline bool is_huge_or_migration(pmd_t pmd) { return pmd_is_huge(pmd) || is_pmd_migration_entry(pmd); }

/// Is a table deposited behind a huge entry, or a migration entry of one? Not for what maps a file.
bool pmd_has_deposit(pmd_t pmd);

/// Replaces a huge entry, or a migration entry of one, by a table of small ones that map the same pages
/// (M29); one that maps a file or a device by nothing, which faults make good. Nothing if it is neither by
/// now. `vma` is what maps `addr`.
void split_huge_pmd(const vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp);
/// The same for the entry that crosses `addr`, if one does.
void split_huge_pmd_address(const vm_area_struct& vma, vaddr_t addr);

enum class split_into : u8 {
  pages,             ///< entries that map the pages
  migration_entries, ///< entries that hold the pages' place, unless one is pinned (Linux's freeze)
};
/// The work of split_huge_pmd(). Caller holds the pml, and a reference to the folio if that is to be frozen.
void split_huge_pmd_locked(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, split_into what);

/// Makes a folio of several pages so many folios (M29, M3). 0; -EAGAIN if somebody else holds it, and it is
/// as it was. Caller holds the folio lock and a reference, which are those of the first page afterwards.
[[nodiscard]] int split_huge_page(folio* folio);

} // namespace racewalk::inline RACEWALK_BACKEND
