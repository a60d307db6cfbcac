#include "catalogue.h"

namespace racewalk::inline RACEWALK_BACKEND {

const std::vector<scenario>& all_scenarios() {
  // One a line, so that two additions meet in no line.
  // clang-format off
  static const std::vector<scenario> all{
      access_vs_munmap(),
      gup_fast_vs_pmd_split(),
      gup_fast_vs_collapse(),
      slot_walk_vs_reuse(),
      hash_fault_vs_collapse(),
      gup_fast_vs_munmap(),
      serialize_before_mask(),
      overapproximated_mask(),
      whose_mask(),
      count_based_skip(),
      dirty_vs_writeback(),
      wrprotect_vs_writeback(),
      clear_refs_accuracy(),
      fullmm_gather_of_live_mm(),
      unrecorded_gather(),
      plain_update_of_entry(),
      merge_equal_pages(),
      nested_gather(),
      fsync_vs_redirty(),
      missing_notifier(),
      retract_vs_uffdio_copy(),
      retract_vs_fault(),
      retract_vs_writeprotect(),
      collapse_vs_missing(),
      pte_mapped_thp_vs_copy(),
      split_word_pmd(),
      retract_vs_munmap(),
      reclaim_empty_table(),
      invalidate_migration_pmd(),
      split_migration_pmd(),
      reordered_split(),
      store_vs_invalidate_pmd(),
      pin_invalidated_pmd(),
      pin_counter_only(),
      pin_subtraction(),
      pin_threshold(),
      pin_false_positive(),
      pin_overflow(),
      pin_page_lock(),
      pin_barrier(),
      pin_mkclean_window(),
      pin_stable_wait(),
      pin_redirty(),
      pin_vs_fork(),
      drop_clean_page(),
      gup_fast_vs_device(),
      mremap_vs_retract(),
      forced_write(),
      cow_either_way(),
      batched_unmap_vs_change(),
      numa_vs_migration(),
      lazyfree_reclaim(),
      dontneed_vs_change_pmd(),
      userfault_wake(),
      userfault_marker(),
      wp_fault_vs_unprotect(),
      mremap_vs_unmap(),
      mremap_vs_rmap(),
      lazy_walk_vs_table_free(),
  };
  // clang-format on
  return all;
}

} // namespace racewalk::inline RACEWALK_BACKEND
