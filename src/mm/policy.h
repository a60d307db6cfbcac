// Every choice of the manager that a mail or a historical fix argues about, one name each.
//
// The default is what is right. A scenario's variant is a set of departures from it; natively the defaults
// are compile-time constants, so the branches on them fold away. References: Mn is a mechanism, Sn.n a
// scenario of docs/, "mail n" a thread of the linux-mm lists. Choices of the machine (switch_mm_barrier,
// lazy_mask_clear) stand in machine/policy.h.
#pragma once

#include "sync/run.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// When folio_mkclean() asks whether others have changed entries and not flushed yet, where it finds one that
/// is read-only and clean (mail 2). Linux does not ask, and has nobody who would leave such an entry behind
/// that writeback meets; here clean_record_shared_mapping_range() may be given any file.
enum class mkclean_pending_t : u8 {
  no,
  under_ptl,
  before_ptl,
  other_lock, ///< with the entry, under a lock that who changes entries does not take (S2.2)
};

/// What stands between the change of an entry and the look at the page's pins besides its exchange and flush.
enum class mkclean_fence_t : u8 {
  none,
  rmb,       ///< smp_rmb()
  lock_pair, ///< another lock taken and dropped
  mb,        ///< smp_mb()
};

/// What keeps tables alive under a lockless walk.
enum class gup_section_t : u8 {
  irq_off, ///< holds back RCU grace periods and every IPI
  rcu,     ///< rcu_read_lock only: an IPI does not wait for it
  none,    ///< preemption is enabled, nothing waits for it
};

/// Whether a lockless walk counts itself in its mm (mail 1, the count-based series).
enum class walk_tracking_t : u8 { none, count };

/// Whose walker count or CPU mask an operation uses.
enum class whose_mm_t : u8 {
  own,     ///< of the mm whose tables are walked or changed (vma->vm_mm)
  current, ///< of the mm loaded on this CPU
};

/// What serialize_against_pte_lookup() does (M7).
enum class serialize_mode_t : u8 {
  none,         ///< nothing: the page-table freeing rules suffice
  ipi,          ///< IPI to the CPUs in the mm's mask
  ipi_if_count, ///< IPI unless the walker count is 0
  wait_count,   ///< wait until the walker count is 0
};

/// How a page-table page goes back to the allocator after it was unhooked and flushed (M5).
enum class table_free_t : u8 {
  arch_default, ///< as the architecture selects
  rcu,          ///< batch, then call_rcu
  sync_ipi,     ///< tlb_remove_table_sync_one(), then at once
  at_once,      ///< with the flush's own IPI as the only rendezvous
};

/// What a gather does if another one of its mm has changed entries and not flushed yet (M9, S2.10).
enum class nested_gather_t : u8 {
  flush_all,    ///< flushes everything, walk caches included
  loses_tables, ///< flushes what it has recorded, and forgets that tables were freed (before 7a30df49f63a)
  tested_early, ///< as flush_all, but looks when it begins: before it can have found the other's entries gone
  ignored,
};

/// How an unmap that has not flushed yet is flushed for by who finds its entries gone (M12).
enum class batched_flush_t : u8 {
  mm,      ///< flush_tlb_mm()
  barrier, ///< where flushes are broadcast: a DSB, which waits for the own CPU's invalidations alone
};

/// How a live entry is changed by somebody who holds its lock, while hardware may set A and D in it (M13).
enum class ptep_modify_t : u8 {
  through_none, ///< taken out by an exchange, then put back changed
  atomic,       ///< by one atomic step
  plain,        ///< read, then stored: what hardware sets in between is lost (S2.8)
};

/// How clear_refs() flushes the entries that it has made read-only (M14).
enum class clear_refs_flush_t : u8 {
  mm,            ///< flush_tlb_mm() (912efa17e512)
  none,          ///< not at all (S2.5)
  gather,        ///< by a gather
  gather_fullmm, ///< by a gather that says that the mm is dying (S2.6)
};

/// How a pin is taken (mail 5).
enum class pin_scheme_t : u8 {
  upstream,  ///< conditional add of the bias, then re-check the entry (M2, M34)
  counter,   ///< the plain counter: add, nothing re-checked
  page_lock, ///< lock_page; wait_for_stable_page; add; unlock_page
  barrier,   ///< add; fence; PageWriteback ? back off : keep
};

/// The fence between adding a pin and the read of PG_writeback that must not pass it (S5.7); pairs with
/// wb_fence_t.
enum class pin_fence_t : u8 {
  value_returning, ///< the add itself is a fully ordered RMW
  after_atomic,    ///< void add; smp_mb__after_atomic()
  mb,              ///< void add; smp_mb()
  wmb,             ///< void add; smp_wmb(), as the mail wrote it
  relaxed,         ///< the add is conditional and atomic, and orders nothing (S1.2g)
};

/// How the count is compared with the bias (S5.3).
enum class pin_threshold_t : u8 { ge, gt };

/// Whether "is it pinned" subtracts mapcount, and which of the two counters it reads first (S5.2).
enum class pin_subtract_t : u8 { no, count_then_map, map_then_count };

/// How the fast path gets the folio lock under pin_scheme_t::page_lock (S5.6).
enum class pin_lock_mode_t : u8 {
  trylock,   ///< else fall back to the slow path
  blocking,  ///< sleeps with interrupts off
  under_ptl, ///< the slow path sleeps under the page-table lock
};

/// Where a pin that met writeback waits for it (S5.7).
enum class pin_backoff_t : u8 { irqs_on, irqs_off };

/// The fence between TestSetPageWriteback and the check for pins (S5.7).
enum class wb_fence_t : u8 { none, wmb, mb };

/// What a pin waits for before it retries (S5.9).
enum class stable_wait_t : u8 { stable_then_writeback, stable_only };

/// What a huge entry is while it is being replaced by a table (M29).
enum class split_step_t : u8 {
  invalid, ///< no translation for hardware, a huge page to software: pmdp_invalidate(), flush, table
  none,    ///< as if nothing were mapped: clear, flush, table
  direct,  ///< what it was: table, then flush
};

/// How a table that changes its place holds the locks of who comes from a folio (H11b, 97113eb39fa7).
enum class mremap_rmap_lock_t : u8 { write, read };
/// The fence between fork's announcement, write_protect_seq, and its look for pins (S5.11).
enum class fork_fence_t : u8 {
  mb,
  wmb, ///< Linux's raw_write_seqcount_begin()
};

/// How a forced write (FOLL_FORCE) knows that the page it finds is the copy that its fault has made (H4).
enum class force_write_t : u8 {
  exclusive, ///< the page is exclusively the mm's (5535be309971)
  dropped,   ///< it has faulted: now it only reads (before 19be0eaffa3a)
  dirty,     ///< it has faulted, and the entry is dirty (FOLL_COW)
};

/// When a write fault may keep the page instead of copying it (M41).
enum class cow_reuse_t : u8 {
  exclusive, ///< if it is marked exclusive, or nobody else holds a reference
  refcount,  ///< if nobody else holds a reference (09854ba94c6a)
  mapcount,  ///< if nobody else maps it, whoever holds references (before that)
};

/// When a write fault that would keep a page asks whether that stands for others (M20).
enum class reuse_ksm_t : u8 {
  under_lock, ///< with the folio lock, which who makes it so has
  before,     ///< before it counts references and takes the lock
  never,
};

/// Whose lock a retraction takes besides the page tables' (M24).
enum class retract_lock_t : u8 {
  none,     ///< nobody's: who comes later looks again (mail 3)
  trylock,  ///< the mmap_lock, or leaves the table where it is (before mail 3)
  blocking, ///< the mmap_lock, inside the folio lock
};

/// How a retraction knows that the table holds nothing of the area's own (mail 3).
enum class retract_test_t : u8 {
  under_ptl,       ///< what the area says, again under the ptl
  before_locks,    ///< what the area says before any lock is taken
  under_mmap_lock, ///< what the area says, again once its mm's locks are held
  entries,         ///< the table's entries, under the ptl
};

/// How a retracted table goes back (M6).
enum class retract_free_t : u8 { deferred, sync_ipi, at_once };

/// When a collapse that fills holes asks whether somebody wants to hear of them (S3.4).
enum class missing_test_t : u8 {
  after,  ///< once nobody can fill them any more
  before, ///< before it begins
  never,
};

/// What a fault that has looked an area up without a lock asks once it has the area's vm_lock: its memory may
/// be another area by now.
enum class vma_recheck_t : u8 {
  address,  ///< that it is attached, and has the address
  attached, ///< that it is attached, whatever it is
  none,
};

/// How munmap() keeps faults out of an area before it takes the entries away.
enum class vma_detach_t : u8 {
  locked,   ///< marked detached under its vm_lock for writing: none is under way, and none begins
  unlocked, ///< marked, and who is under way goes on
  none,     ///< who is under way has ended, and who comes late begins
};

struct policy_t {
  // ---- lockless walk: M2, S1.4 ----
  bool gup_recheck_pmd = true;     ///< re-read the pmd after taking the reference (M2 step 6, 70cbc3cc78a9)
  bool gup_recheck_pte = true;     ///< re-read the pte after taking the reference (M2 step 6)
  bool gup_recheck_folio = true;   ///< ask again whose page it is after taking the reference (M3, S1.1e)
  bool gup_refuses_invalid = true; ///< an invalidated leaf leads nowhere, even if its bits grant it (S4.7)
  gup_section_t gup_section = gup_section_t::irq_off; ///< M2 step 2, M44, S1.4

  // ---- look-ups that end at an entry: M7, S1.3 ----
  bool slot_walk_reloads = false;   ///< read the slot again instead of using what was read on the way
  bool slot_walk_tests_leaf = true; ///< look whether it is a leaf before using it as one

  // ---- tracking of lockless walks: mail 1, M7 ----
  walk_tracking_t walk_tracking = walk_tracking_t::none;    ///< S1.9
  bool walker_count_inc_barrier = true;                     ///< MB between count++ and the walk (S1.9)
  bool walker_count_dec_barrier = true;                     ///< MB between the walk and count-- (S1.9)
  whose_mm_t walker_count_mm = whose_mm_t::own;             ///< S1.8, S1.9
  serialize_mode_t serialize_mode = serialize_mode_t::none; ///< M7, S1.5, S1.9
  bool serialize_barrier = true;                            ///< MB before reading the mask or count (S1.5)
  bool serialize_before_unhook = false;                     ///< the wrong order of S1.4
  whose_mm_t serialize_mm = whose_mm_t::own;                ///< whose mask and count (S1.8)

  // ---- gather and table freeing: M5, M9 ----
  table_free_t table_free = table_free_t::arch_default; ///< M5, S1.4
  bool gather_flush_before_free = true;                 ///< unhook, invalidate, free: in that order (M9)
  nested_gather_t gather_nested = nested_gather_t::flush_all; ///< S2.10, 7a30df49f63a
  bool gather_flushes_unrecorded = false;                     ///< a fullmm gather, before 0758cd830494 (S2.7)
  bool batch_page_available = true; ///< false: every batch page fails, M5 step 2's fallback

  // ---- unmaps that are flushed later: M12, H7 ----
  bool mprotect_flushes_batched = true;    ///< 3ea277194daa
  bool zap_flushes_batched = true;         ///< the same for munmap and MADV_DONTNEED (H7c)
  bool batched_pending_counts = true;      ///< false: a flag, cleared after the flush (H7b, 5ee2fa2f0636)
  bool batched_pending_after_clear = true; ///< false: said before the entry is gone (H7d)
  batched_flush_t batched_flush = batched_flush_t::mm; ///< H7a, 4b634918384c
  bool accessible_while_pending = true; ///< a TLB may hold what a flush under way has not reached (M11)

  // ---- files: M16-M18 ----
  mkclean_pending_t mkclean_tests_flush_pending = mkclean_pending_t::under_ptl; ///< mail 2, S2.1-S2.4
  bool mkclean_flushes = true;                                                  ///< S5.8
  mkclean_fence_t mkclean_fence = mkclean_fence_t::none; ///< between mkclean and looking for pins (S5.8)
  bool drop_freezes_first = true;    ///< then asks whether it is dirty; false: asks first (M18)
  bool dirty_checks_mark = true;     ///< of a folio that is dirty already: can writeback find it? (S2.11)
  bool fdatawait_rmb = true;         ///< between what is under writeback and what is on the disk (S2.11)
  bool wb_bounces_pinned = true;     ///< a pinned page is written from a copy and stays dirty (S5.10)
  bool longterm_refuses_file = true; ///< long-term pins for writing, where writeback counts on faults (S5.10)
  u8 fault_around_pages = 16;        ///< in the cache, that a read fault maps: a power of two

  // ---- swap: M45 ----
  bool swapin_rechecks_folio = true;    ///< that it is the slot's still, once it is locked (do_swap_page())
  bool swapin_rechecks_pte = true;      ///< that it names the slot still, under the ptl (do_swap_page())
  bool swap_out_looks_for_pins = true;  ///< when the entry is gone (try_to_unmap_one())
  bool swap_out_collects_dirty = true;  ///< what hardware has recorded in it by then (try_to_unmap_one())
  bool free_swap_counts_entries = true; ///< a slot is given back when no entry names it (folio_free_swap())
  bool fork_shares_swap_entries =
      true; ///< what is in the swap file is nobody's alone then (copy_nonpresent_pte())
  bool reclaim_flushes_first = true; ///< before what it has unmapped is written (shrink_folio_list())
  bool truncate_looks_again = true;  ///< at a place where it has had to wait (shmem_undo_range())

  // ---- entries that lose rights or history: M13, M14 ----
  ptep_modify_t ptep_modify = ptep_modify_t::through_none;      ///< S2.8
  clear_refs_flush_t clear_refs_flush = clear_refs_flush_t::mm; ///< S2.5, S2.6, S2.7
  bool clear_refs_records = true;                               ///< tells the gather what it changes (S2.7)
  bool clear_refs_pending = true;                               ///< says that a flush is to come (M10, S2.9)
  bool clear_refs_excludes_faults = true;  ///< until it has flushed (29a951dfb3c3, S2.5b)
  bool flush_pending_counts = true;        ///< false: a flag, cleared by the first who is done (16af97dc5a89)
  bool dirty_helpers_flush_locked = false; ///< under the page-table lock, not after it (S2.1)
  bool madvise_free_flushes = true;        ///< what it has made clean (M21)
  bool lazyfree_mb = true;                 ///< the entry, then the references (6c8e2a256915)
  bool lazyfree_rmb = true;                ///< the references, then dirtiness (M18)
  bool lazyfree_dirty_first = false;       ///< dirtiness, then the references (M18)

  // ---- huge entries: M29, M30 ----
  split_step_t split_step = split_step_t::invalid; ///< S1.1
  bool split_wmb = true;                    ///< the table's content before the entry that leads to it (S1.1b)
  bool split_invalidates_migration = false; ///< invalidate first, ask what it was then (mail 4, S4.2)
  bool change_pmd_through_none = false;     ///< change rights by clearing and setting the entry (H14)
  bool invalidate_by_exchange = true;       ///< take the old entry and put the new one in one step (S4.5)
  bool zap_trusts_none = true; ///< an entry that reads as none without the pml is passed by (H14)

  // ---- tables that may be taken away: M6 ----
  bool pte_map_rcu = true;          ///< tables are read in an RCU section (S3.2)
  bool ptl_rechecks_pmd = true;     ///< the PMD entry is read again once the ptl is held (S3.1, S3.2)
  bool unlink_before_tables = true; ///< an area leaves its file's tree before its tables go (S3.9)
  bool lockless_sync = true;        ///< no walk has half read an entry whose place is used again (S3.8)

  // ---- userfaultfd: M26 ----
  bool uffd_rechecks_when_queued = true; ///< a fault looks again once it is in the queue (M26)
  bool uffd_wp_marks_none = true;        ///< what is not mapped of a file is protected by a marker (M26)
  bool zap_leaves_markers = true; ///< what was protected stays so when its page goes (M26, 999dad824c39)
  bool wp_flushes_pending = true; ///< where a page is about to be copied (H10, 6ce64428d620)

  // ---- areas and their vm_lock: M42, S0.2, S0.3, Linux 6.4 ----
  vma_recheck_t vma_recheck = vma_recheck_t::address;  ///< vma_start_read() (S0.2)
  vma_detach_t munmap_detaches = vma_detach_t::locked; ///< vma_start_write(), vma_mark_detached() (S0.2)
  bool mprotect_keeps_faults_out = true;               ///< vma_start_write() (S0.3)

  // ---- tables that have become empty: S3.9, Linux 6.14 ----
  bool reclaim_pt_rechecks = true; ///< that the table is empty, under both locks (try_to_free_pte)

  // ---- pages that move: M11 ----
  bool migrate_locks_new = true; ///< the new folio, until it has all the entries of the old one (M20)

  // ---- mremap: M37 ----
  bool mremap_flush_under_ptl = true; ///< before the tables' locks are dropped (H11a, eb66ae030829)
  mremap_rmap_lock_t mremap_rmap_lock = mremap_rmap_lock_t::write; ///< H11b, 97113eb39fa7
  bool mremap_holds_rmap_lock = true; ///< while an entry moves, against who looks at its new place first
  bool mremap_links_after = true;     ///< the region where pages go is visited after the one that they leave
  bool mremap_rechecks_pmd = true;    ///< that it leads to a table, under both locks (H3, 6fa1066fc5d0)

  // ---- collapse: M22 ----
  bool collapse_flush_freed_tables = true; ///< its flush also reaches who only walks (H17a, 3ef938c35035)
  bool hash_collapse_serializes = true;    ///< low-level faults in the old table end before its flush (S1.3d)
  bool collapse_sync_ipi = true;           ///< wait for every walk in the unhooked table (S1.2, 2ba99c5e0881)

  // ---- secondary MMUs: M27 ----
  bool notify_ranges = true;   ///< ranges are told to subscribers before and after (S3.5, f268f6cf875f)
  bool secondary_retry = true; ///< a shadow table enters only what was not invalidated meanwhile (S3.5)
  // ---- collapse of files, retraction of tables: M23-M25, mail 3 ----
  bool faults_take_vma_lock = true;                        ///< else the mmap_lock, as before 6.4 (S3.6)
  bool retract_takes_vma_lock = false;                     ///< vma_try_start_write() (S3.6)
  retract_lock_t retract_mmap_lock = retract_lock_t::none; ///< S3.6
  retract_test_t retract_test = retract_test_t::under_ptl; ///< S3.1, S3.3
  bool retract_holds_ptl = true;                           ///< while the entry is cleared (S3.1, S3.2)
  bool retract_rechecks_pmd = true;                        ///< the entry is a table's still (S3.9)
  bool retract_notifies = true;                            ///< MMU notifiers hear of it (S3.5, f268f6cf875f)
  retract_free_t retract_free = retract_free_t::deferred;  ///< S3.2
  missing_test_t collapse_missing_test = missing_test_t::after; ///< S3.4
  bool collapse_missing_mb = true;                              ///< the holes, then the question (S3.4)
  bool collapse_pte_mapped_early_pml = true; ///< where UFFDIO_COPY could come between (S3.7)
  bool collapse_pte_mapped_reverify = true;  ///< look at the entries again under the ptl (S3.7)

  // ---- pins: M34, M36, mail 5 ----
  pin_scheme_t pin_scheme = pin_scheme_t::upstream;          ///< S5.1, S5.6, S5.7
  pin_fence_t pin_fence = pin_fence_t::value_returning;      ///< S5.7
  pin_threshold_t pin_threshold = pin_threshold_t::ge;       ///< S5.3
  pin_subtract_t pin_subtract_mapcount = pin_subtract_t::no; ///< S5.2
  bool pin_conditional = true; ///< refuse a count that is not positive or near overflow (S5.5)
  u8 pin_counter_bits = 21;    ///< pins that fit a count beside its sign; 22 forgets the sign (S5.5)
  pin_lock_mode_t pin_lock_mode = pin_lock_mode_t::trylock; ///< S5.6
  bool pin_recheck_pte = true; ///< page_lock scheme: re-read the pte once the lock is held (S5.6 P2)
  pin_backoff_t pin_backoff_wait = pin_backoff_t::irqs_on; ///< S5.7
  u8 pin_retries = 2; ///< bounded: a pin that keeps meeting writeback gives up with -EAGAIN

  // ---- fork and copy on write: M33, M35, M41 ----
  bool fork_write_protect_seq = true; ///< lockless pins that meet a fork give up (S5.11, 57efa1fe5957)
  fork_fence_t fork_fence = fork_fence_t::mb; ///< S5.11
  bool fork_protects_first = false;           ///< take the right to store away, then look for pins (S5.11)
  bool fork_protects_first_barrier = true;    ///< MB in between (S5.11)
  cow_reuse_t cow_reuse = cow_reuse_t::exclusive;       ///< H5
  force_write_t force_write = force_write_t::exclusive; ///< H4
  bool gup_unshares = true; ///< a page is made exclusive before it is pinned, also to read (H5)

  // ---- equal pages that become one: M20 ----
  bool ksm_tests_flush_pending = true; ///< an entry that looks harmless may be so in tables only (S2.9)
  bool ksm_tests_exclusive = true;     ///< as does an entry that was the page's only one (S2.9)
  bool ksm_flushes_first = true;       ///< the entry goes before references are counted (M20)
  bool ksm_tests_locked = true;        ///< that a page stands for nobody yet, with the folio lock (M20)
  bool ksm_keeps_kpage = true;         ///< until an entry maps it, who merges with it has a reference (M20)
  bool ksm_get_rechecks = true;        ///< that it is the node's page still, with a reference (M20)
  bool ksm_prunes_locked = true;       ///< places are forgotten under the folio lock (M20)
  bool ksm_prune_spares_new = true;    ///< places whose entry is still to come (M20)
  reuse_ksm_t reuse_tests_ksm = reuse_ksm_t::under_lock; ///< M20

  // ---- memory of devices: M32 ----
  bool gup_gets_pagemap = true;       ///< a lockless walk keeps the device while it takes its page
  bool pagemap_waits_for_pins = true; ///< a device goes when its pages are free; Linux 6.1 does not ask
  bool pagemap_kill_waits = false; ///< a grace period between the last new reference and the wait for the old
  bool mremap_tests_devmap = true; ///< else only whether an entry is huge (5bfea2d9b17f, CVE-2020-10757)

  // ---- writeback: M17, mail 5 ----
  wb_fence_t wb_barrier = wb_fence_t::mb;                           ///< S5.7
  stable_wait_t stable_wait = stable_wait_t::stable_then_writeback; ///< S5.9
  bool mapping_needs_stable = true; ///< wait_for_stable_page() waits (S5.6 P1, S5.9)
};

inline constexpr policy_t default_policy{};

/// The choices in force: constant natively, the current run's in the model.
inline const policy_t& policy() { return run_setting(default_policy); }

} // namespace racewalk::inline RACEWALK_BACKEND
