// mm_context: what the machine knows of an address space. The manager's mm_struct contains one.
//
// cpumask and tlb_gen carry the shootdown protocol (tlbflush.h): a CPU sets its bit before it loads the root,
// and a flush raises tlb_gen before it reads the mask.
#pragma once

#include <span>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What an access wanted that the page table did not grant.
enum fault_flags : u32 {
  FAULT_FLAG_NONE = 0,
  FAULT_FLAG_WRITE = 1U << 0,
  FAULT_FLAG_ALLOW_RETRY = 1U << 1, ///< of the manager's own: the area's lock may be dropped, to wait
  FAULT_FLAG_VMA_LOCK = 1U << 2,    ///< of the manager's own: that lock is vm_lock, not mmap_lock
  FAULT_FLAG_UNSHARE = 1U << 3,     ///< nothing yet, but nobody else may see what becomes of the page (M33)
};
constexpr fault_flags operator|(fault_flags a, fault_flags b) { return fault_flags(u32(a) | u32(b)); }

/// What came of a fault.
enum class fault_result : u8 {
  handled, ///< try the access again
  sigsegv, ///< no mapping, or one that forbids the access
  sigbus,
  oom,   ///< no frame or table could be had
  retry, ///< of the manager's own: the area's lock has been dropped, the fault begins anew
};

struct mm_context {
  pfn_t pgd = 0;        ///< the root table; fixed while the mm lives
  pfn_t hash_table = 0; ///< with a hash MMU, a page of translations; fixed too
  u64 ctx_id = 0;       ///< never reused
  word_t cpumask;       ///< CPUs that may hold translations (mm_cpumask)
  atomic64_t tlb_gen;   ///< one more for each flush
  /// Makes the entry grant the access, or says why not. Called without locks, interrupts on.
  fault_result (*fault)(mm_context& mm, vaddr_t addr, fault_flags flags) = nullptr;
  /// May be null. Says that accesses to all of these addresses come next, which the entries do not grant:
  /// what has to be read from a disk begins to be read. Called without locks, interrupts on.
  void (*will_need)(mm_context& mm, std::span<const vaddr_t> addresses) = nullptr;
  /// Told by each flush, after the CPUs: whoever else caches translations drops those of [start, end). Called
  /// under the locks that the flush is called under.
  void (*flush_secondary_tlbs)(mm_context& mm, vaddr_t start, vaddr_t end) = nullptr;
};

} // namespace racewalk::inline RACEWALK_BACKEND
