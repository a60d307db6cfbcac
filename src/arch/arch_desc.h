// What an architecture is, to this library: the contract that each file x86_64.h, arm64.h ... fulfils.
//
// An arch_desc is data plus functions on raw 64-bit entries. All of it is constexpr, so natively, where a
// build has one architecture, every question about an entry folds into a test of a few bits; in the model the
// same functions are called through the current run's description. Nothing here reads or writes memory: the
// accesses are pgtable.h's.
//
// The kinds of entry that the comments speak of (mechanisms M30, M31):
//   none        nothing is mapped and nothing is remembered
//   table       points to the next lower table
//   leaf        maps memory; W writable, D dirty, A accessed (young)
//   protnone    a leaf that keeps its pfn but grants no access (PROT_NONE, NUMA hinting)
//   invalid     a leaf that mkinvalid() made: hardware faults on it, software still takes it for a huge page
//   swap        not present: a type and an offset; a migration entry is one whose offset holds a pfn
// Each question names the level, for an entry's layout may depend on it (s390x). The value 0 is none at every
// level: an architecture whose empty entries have bits set (s390x, loongarch64) says so in its file.
// Software is free to ask a question about a kind for which the contract says "undefined"; the answer is then
// whatever the bits give, as in Linux, and the table in tests/arch records it where an argument depends on
// it.
#pragma once

#include "sync/types.h"

namespace racewalk {

/// Which entry it is: 0 PTE, 1 PMD, 2 PUD, 3 PGD; and how many index bits each table has, since what an entry
/// covers, hence the alignment of its pfn, follows from both.
struct level_t {
  u8 number;
  u8 bits;

  /// log2 of the number of pages that a leaf at this level maps.
  [[nodiscard]] constexpr unsigned order() const { return unsigned{number} * bits; }
  friend constexpr bool operator==(level_t, level_t) = default;
};

inline constexpr unsigned PTE_LEVEL = 0;
inline constexpr unsigned PMD_LEVEL = 1;
inline constexpr unsigned PUD_LEVEL = 2;
inline constexpr unsigned PGD_LEVEL = 3;

inline constexpr unsigned PAGE_SHIFT = 12;
inline constexpr u64 PAGE_SIZE = u64{1} << PAGE_SHIFT;
inline constexpr u64 PAGE_MASK = ~(PAGE_SIZE - 1);

/// The shape of the tree: 4 levels of 512 natively, as few as a scenario needs in the model. With fewer than
/// 4 levels the upper ones are folded: a tree of 2 levels has a root table of PMD entries.
struct geometry_t {
  u8 levels = 4; ///< 2, 3 or 4
  u8 bits = 9;   ///< log2 of the entries of a table

  [[nodiscard]] constexpr level_t level(unsigned number) const { return {static_cast<u8>(number), bits}; }
  [[nodiscard]] constexpr unsigned root_level() const { return levels - 1U; }
  [[nodiscard]] constexpr bool folded(unsigned number) const { return number >= levels; }
  /// log2 of the bytes that an entry of this level covers.
  [[nodiscard]] constexpr unsigned shift(unsigned number) const { return PAGE_SHIFT + number * bits; }
  [[nodiscard]] constexpr u64 size(unsigned number) const { return u64{1} << shift(number); }
  [[nodiscard]] constexpr unsigned entries() const { return 1U << bits; }
  [[nodiscard]] constexpr unsigned index(vaddr_t addr, unsigned number) const {
    return static_cast<unsigned>(addr >> shift(number)) & (entries() - 1);
  }
  /// Addresses from 0 to this one (exclusive) can be mapped.
  [[nodiscard]] constexpr vaddr_t address_limit() const { return size(levels); }
  friend constexpr bool operator==(geometry_t, geometry_t) = default;
};

/// Access rights that a mapping asks for; `none` is PROT_NONE and overrides the others.
struct pgprot_t {
  bool write = false;
  bool user = true;
  bool exec = false;
  bool none = false;
  friend constexpr bool operator==(pgprot_t, pgprot_t) = default;
};

inline constexpr pgprot_t PAGE_NONE{.none = true};
inline constexpr pgprot_t PAGE_READONLY{};
inline constexpr pgprot_t PAGE_READONLY_EXEC{.exec = true};
inline constexpr pgprot_t PAGE_SHARED{.write = true};
inline constexpr pgprot_t PAGE_SHARED_EXEC{.write = true, .exec = true};

/// How memory orders accesses: `tso` lets a store be delayed past later loads, `weak` is what Linux's
/// primitives promise and nothing more.
enum class memory_model_t : u8 { tso, weak };

/// Who records accesses and stores, on a store through a TLB entry that is writable and not known to be
/// dirty:
enum class ad_profile_t : u8 {
  hw_a, ///< hardware re-reads the entry and sets D only if it is still present and writable, else faults
  hw_b, ///< hardware may set D on an entry that has become read-only meanwhile, and completes the store
  sw,   ///< software: a clean entry does not let stores through, an old one lets nothing through
};

/// How other CPUs' translations are invalidated.
enum class flush_kind_t : u8 {
  ipi,       ///< by interrupting them: also a rendezvous with every irq-off section on the targets
  broadcast, ///< by a broadcast instruction, firmware or the hypervisor: interrupts nobody, waits for no
             ///< section
};

/// Which CPUs a shootdown reaches.
enum class flush_targets_t : u8 {
  cpumask, ///< those in mm_cpumask(mm)
  all,     ///< every CPU
};

/// What it takes to remove paging-structure (walk-cache) entries of a range.
enum class walk_cache_rule_t : u8 {
  any_flush,     ///< any invalidation of the address removes them
  nonleaf_flush, ///< only an invalidation that says tables were freed
  mm_flush,      ///< only an invalidation of the whole address space
};

/// What tells tlb_remove_table() when a table page may be freed (M5).
enum class table_free_rule_t : u8 {
  rcu,       ///< after a grace period (MMU_GATHER_RCU_TABLE_FREE)
  ipi_flush, ///< at once after the flush, whose interrupt has waited for every irq-off walk
};

/// When a CPU's bit in mm_cpumask goes away (M8).
enum class cpumask_rule_t : u8 {
  clear_on_switch, ///< the CPU clears it when it switches to another mm
  set_only,        ///< never, while the mm lives
  trimmed,         ///< by the CPU itself, when an interrupt asks it to drop a lazily kept mm
};

struct arch_desc {
  const char* name;

  // ---- the machine around the entries ----

  memory_model_t memory_model;
  ad_profile_t ad_profile;
  flush_kind_t flush_kind;
  flush_targets_t flush_targets;
  walk_cache_rule_t walk_cache;
  table_free_rule_t table_free; ///< a default: the policy may choose another
  cpumask_rule_t mm_cpumask;
  /// tlb_flush() of a gather that says its mm is dying, and frees no tables, flushes nothing: the ASID is not
  /// used again before everything of it has been invalidated (M9). Of a live mm that is a flush lost (S2.6).
  bool fullmm_skips_flush = false;
  /// Ordering of the exchange in ptep_get_and_clear, pmdp_establish and their like.
  order xchg_order;
  /// May a huge page have a migration entry of its own? Otherwise its mapping is split first (M31).
  bool thp_migration;
  /// Where an entry is two words: the bits of the one with the present bit, which is written last on the way
  /// to a present entry and first on the way from it, and read first and again. All ones: it is one word.
  u64 low_half = ~u64{0};
  /// Where translations are entered in a hash table by software: the bit that locks a live entry meanwhile.
  /// Elsewhere 0: hardware walks the page table.
  u64 hash_busy = 0;
  /// Physical address bits (Linux's MAX_PHYSMEM_BITS): pfns are below 2^(phys_bits - PAGE_SHIFT). A swap
  /// offset holds such a pfn and two bits more.
  unsigned phys_bits;

  /// Does waiting for a shootdown also wait for irq-off sections on the CPUs it reaches?
  [[nodiscard]] constexpr bool flush_is_rendezvous() const { return flush_kind == flush_kind_t::ipi; }
  /// Is an entry two words?
  [[nodiscard]] constexpr bool split_words() const { return ~low_half != 0; }
  /// Does software fill a hash table, and hardware look it up (machine/hash_mmu.h)?
  [[nodiscard]] constexpr bool hash_mmu() const { return hash_busy != 0; }
  /// Does a user access set A and D by itself, without a fault?
  [[nodiscard]] constexpr bool hw_sets_ad() const { return ad_profile != ad_profile_t::sw; }

  // ---- what kind of entry is it ----

  /// True for none, false for every other kind. Stray A and D bits that hardware is known to leave count as
  /// none.
  bool (*none)(u64, level_t);
  /// p?d_present: true for table, leaf, protnone and invalid; false for none and swap. For what mkinvalid()
  /// makes of a swap entry, which must not happen, each architecture answers as its bits do: the matter of
  /// mail 4.
  bool (*present)(u64, level_t);
  /// May hardware use it, as a table or a leaf? True for table and for a leaf that is young; false for none,
  /// invalid and swap; for protnone true only where the entry is valid but grants nothing (powerpc64). An old
  /// leaf is valid too, but where the bit that makes it valid is the one that says it was accessed (s390x,
  /// sparc64).
  bool (*valid)(u64, level_t);
  /// p?d_leaf: true for leaf, protnone and invalid; false for none and table; undefined for swap (powerpc64
  /// says true). At the PTE level the same as present().
  bool (*leaf)(u64, level_t);
  /// pmd_trans_huge, a PMD only: true for leaf, protnone and invalid; false for the others. Of a leaf that
  /// maps a device's memory arm64 says true, too, the others false: who means both asks both.
  bool (*trans_huge)(u64);
  /// p?d_bad, asked of what is neither none nor leaf: false for table, true for what cannot be one.
  bool (*bad)(u64, level_t);
  /// pte_protnone/pmd_protnone: true for protnone; false for none, table, leaf and invalid.
  bool (*protnone)(u64, level_t);

  // ---- what does a present leaf say; undefined for other kinds ----

  /// May be stored to. Never true for protnone; invalid keeps it.
  bool (*write)(u64, level_t);
  /// Was stored to, as hardware or software recorded it.
  bool (*dirty)(u64, level_t);
  bool (*young)(u64, level_t);
  /// pte_special: no struct page may be taken from it.
  bool (*special)(u64, level_t);
  /// The first page that it maps; kept by protnone and invalid.
  pfn_t (*pfn)(u64, level_t);
  /// The page that a table entry points to.
  pfn_t (*table_pfn)(u64);
  /// p?d_access_permitted: may GUP-fast take the page for this access? False for none and swap, and for a
  /// leaf without the right. For protnone and invalid the answer differs between architectures: callers test
  /// protnone first, and an invalid leaf is accepted where only the generic test exists (riscv64, S4.7).
  bool (*access_permitted)(u64, level_t, bool write);
  /// pte_accessible: may a TLB hold it? True for every valid entry; also for what is present but not valid
  /// while its writer may not have flushed yet (`flush_pending`, M11).
  bool (*accessible)(u64, level_t, bool flush_pending);
  /// pte_needs_flush: going from `from` to `to` under the ptl, may a TLB hold a right that `to` no longer
  /// grants?
  bool (*needs_flush)(u64 from, u64 to, level_t);

  // ---- making and changing entries ----

  /// A leaf with these rights, clean, young. `pfn` is aligned to the level's order.
  u64 (*mk_leaf)(pfn_t, pgprot_t, level_t);
  /// A table entry at this level, pointing to `pfn`, which is not 0: there are architectures where that would
  /// be none.
  u64 (*mk_table)(pfn_t, level_t);
  /// pte_modify: these rights; pfn, A, D and special as before. Also turns protnone into leaf and back.
  u64 (*modify)(u64, pgprot_t, level_t);
  /// Takes the right to store away; dirty() stays as it was.
  u64 (*wrprotect)(u64, level_t);
  /// Grants the right to store, to a leaf that can be read.
  u64 (*mkwrite)(u64, level_t);
  /// Makes dirty() true, write() stays.
  u64 (*mkdirty)(u64, level_t);
  u64 (*mkclean)(u64, level_t);
  u64 (*mkyoung)(u64, level_t);
  u64 (*mkold)(u64, level_t);
  u64 (*mkspecial)(u64, level_t);
  /// The entry part of pmdp_invalidate, asked of a present leaf: not valid any more, and otherwise as the
  /// kind `invalid` above; pfn, W and D stay, and A where it has a bit of its own (not on loongarch64).
  u64 (*mkinvalid)(u64, level_t);

  // ---- userfaultfd ----

  /// The software bit of a present PTE that says that userfaultfd write-protected it, and the bit for the
  /// same in a swap PTE. Both are free for every other purpose, and kept by modify(). 0 where there is none.
  u64 uffd_wp = 0;
  u64 swp_uffd_wp = 0;

  // ---- soft-dirty (M14) ----

  /// The software bit of a leaf that says that it was stored to since clear_refs(). 0: there is none, and
  /// nobody can ask. Every other operation on leaves keeps it.
  u64 soft_dirty = 0;
  /// The same of a swap entry; part of neither its type nor its offset.
  u64 swp_soft_dirty = 0;

  // ---- memory of devices (M32) ----

  /// The bits of a leaf, all of them set, that say that it maps a device's memory (p?d_devmap); one of them
  /// is software's, and every other operation on leaves keeps it. 0: there are no such entries. In what is
  /// not present the bits say something else.
  u64 devmap = 0;

  // ---- swap entries ----

  unsigned swp_type_bits;
  unsigned swp_offset_bits;
  /// A swap entry for this level, PMD only with thp_migration: neither none nor present, except that of type
  /// 0 one offset may be none: the first or the last, which no swap device uses.
  u64 (*swp_entry)(unsigned type, u64 offset, level_t);
  unsigned (*swp_type)(u64);
  u64 (*swp_offset)(u64);

  // ---- what the memory-management unit does with an entry ----

  /// May a user access of this kind go through a leaf, given what hardware does to A and D by itself? False
  /// for every kind but leaf.
  bool (*mmu_permits)(u64, level_t, bool write);
  /// The leaf after such an access: with A and, for a store, D recorded if hardware does that; else
  /// unchanged.
  u64 (*mmu_update)(u64, level_t, bool write);
};

} // namespace racewalk
