// Where each argument is: one function a file, called by all.cc in the order of the catalogue.
#pragma once

#include "racewalk/scenario.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The source of the arguments about pinned pages.
inline constexpr const char* MAIL_5 = "mail 5 (Re: mm: introduce put_user_page*(), placeholder versions)";

scenario access_vs_munmap();         // S0.1
scenario fault_vs_unmap();           // S0.2
scenario store_vs_mprotect();        // S0.3
scenario gup_fast_vs_pmd_split();    // S1.1
scenario gup_fast_vs_collapse();     // S1.2
scenario slot_walk_vs_reuse();       // S1.3
scenario hash_fault_vs_collapse();   // S1.3
scenario gup_fast_vs_munmap();       // S1.4
scenario serialize_before_mask();    // S1.5
scenario overapproximated_mask();    // S1.6
scenario whose_mask();               // S1.8
scenario count_based_skip();         // S1.9
scenario clear_refs_accuracy();      // S2.5
scenario fullmm_gather_of_live_mm(); // S2.6
scenario unrecorded_gather();        // S2.7
scenario plain_update_of_entry();    // S2.8
scenario merge_equal_pages();        // S2.9
scenario reuse_vs_merge();           // M20
scenario walk_vs_merge();            // M20
scenario dirty_vs_writeback();       // S2.1, S2.2
scenario wrprotect_vs_writeback();   // S2.3, S2.4
scenario nested_gather();            // S2.10
scenario fsync_vs_redirty();         // S2.11
scenario missing_notifier();         // S3.5
scenario retract_vs_uffdio_copy();   // S3.1
scenario retract_vs_fault();         // S3.2, S3.6
scenario retract_vs_writeprotect();  // S3.3
scenario collapse_vs_missing();      // S3.4
scenario pte_mapped_thp_vs_copy();   // S3.7
scenario retract_vs_munmap();        // S3.9
scenario reclaim_empty_table();      // S3.9
scenario split_word_pmd();           // S3.8
scenario invalidate_migration_pmd(); // S4.1
scenario split_migration_pmd();      // S4.2, S4.3
scenario reordered_split();          // S4.4
scenario store_vs_invalidate_pmd();  // S4.5
scenario pin_invalidated_pmd();      // S4.7
scenario pin_counter_only();         // S5.1
scenario pin_subtraction();          // S5.2
scenario pin_threshold();            // S5.3
scenario pin_false_positive();       // S5.4
scenario pin_overflow();             // S5.5
scenario pin_page_lock();            // S5.6
scenario pin_barrier();              // S5.7
scenario pin_mkclean_window();       // S5.8
scenario pin_stable_wait();          // S5.9
scenario pin_redirty();              // S5.10
scenario drop_clean_page();          // M18
scenario gup_fast_vs_device();       // M32
scenario pin_vs_fork();              // S5.11

/// Every one of them, in the order of the catalogue.
const std::vector<scenario>& all_scenarios();
scenario userfault_wake();          // M26
scenario userfault_marker();        // M26
scenario lazy_walk_vs_table_free(); // H17
scenario cow_either_way();          // H5
scenario batched_unmap_vs_change(); // H7
scenario numa_vs_migration();       // M11
scenario lazyfree_reclaim();        // M21
scenario swap_out_vs_use();         // M45
scenario swap_in_vs_use();          // M45
scenario drop_swap_cache();         // M45
scenario truncate_vs_swap();        // M45
scenario dontneed_vs_change_pmd();  // H14
scenario mremap_vs_unmap();         // H11
scenario mremap_vs_rmap();          // M37
scenario mremap_vs_retract();       // H3
scenario forced_write();            // H4
scenario wp_fault_vs_unprotect();   // H10

// What the expected verdict of a variant can depend on.
inline expect always_safe(const settings&) { return expect::safe; }
inline expect always_violation(const settings&) { return expect::violation; }
/// Lost only where memory is weakly ordered.
inline expect violation_if_weak(const settings& s) {
  return s.model == explore::memory_model::weak ? expect::violation : expect::safe;
}
/// Lost wherever a store can be delayed past a later load.
inline expect violation_unless_sc(const settings& s) {
  return s.model == explore::memory_model::sc ? expect::safe : expect::violation;
}
/// Lost where there is userfaultfd write protection at all.
inline expect violation_if_uffd_wp(const settings& s) {
  return s.arch->uffd_wp != 0 ? expect::violation : expect::safe;
}
/// Lost where a TLB shootdown interrupts nobody.
inline expect violation_unless_ipi(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::safe : expect::violation;
}

} // namespace racewalk::inline RACEWALK_BACKEND
