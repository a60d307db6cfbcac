// Page-table entries and the words that hold them, by Linux's names.
//
// pte_t, pmd_t, pud_t and pgd_t are values: what was read from a slot, together with the read itself (`dep`),
// so that a table found through the value is an address dependency on it. ptep_t, pmdp_t, pudp_t and pgdp_t
// are slots: the only way to an entry in memory. The first half of this file asks and changes values and
// touches no memory; the second half reads and writes slots.
//
// What is kept true:
//  - An entry is read once per function call and never torn: one READ_ONCE.
//  - A live entry, which the hardware of another CPU may be marking accessed or dirty, is changed by
//    one atomic operation or goes through none; never by a load and a store (M13, S2.8).
//  - The lock that a function needs is named beside it: `ptl` is the lock of the PTE table, `pml` the
//    one of the PMD table. These functions order nothing by themselves beyond what their comments say,
//    and flush nothing.
//
// The upper levels fold as in Linux: of a folded level there is no entry, it is always present and never a
// leaf, and reading its slot reads nothing.
#pragma once

#include "arch/arch.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- types -----------------------------------------------------------------------------------------------

/// An entry's value. Two are the same if their bits are (pte_same); where they were read does not matter.
template <unsigned Level> struct entry_t {
  u64 val = 0;
  [[no_unique_address]] dep_t dep{};

  [[nodiscard]] static level_t level() { return level_of(Level); }
  /// The same read, other bits.
  [[nodiscard]] entry_t with(u64 v) const { return {v, dep}; }
};

using pte_t = entry_t<PTE_LEVEL>;
using pmd_t = entry_t<PMD_LEVEL>;
using pud_t = entry_t<PUD_LEVEL>;
using pgd_t = entry_t<PGD_LEVEL>;

/// Where an entry stands.
template <unsigned Level> class slot_t {
 public:
  explicit slot_t(ref<u64> word) : word_(word) {}
  [[nodiscard]] const ref<u64>& word() const { return word_; }
  friend bool operator==(const slot_t& a, const slot_t& b) { return a.word_ == b.word_; }

 private:
  ref<u64> word_;
};

using ptep_t = slot_t<PTE_LEVEL>;
using pmdp_t = slot_t<PMD_LEVEL>;
using pudp_t = slot_t<PUD_LEVEL>;
using pgdp_t = slot_t<PGD_LEVEL>;

// ---- geometry, by Linux's names --------------------------------------------------------------------------

inline unsigned ptrs_per_table() { return geometry().entries(); }
inline unsigned pte_index(vaddr_t addr) { return geometry().index(addr, PTE_LEVEL); }
inline unsigned pmd_index(vaddr_t addr) { return geometry().index(addr, PMD_LEVEL); }
inline unsigned pud_index(vaddr_t addr) { return geometry().index(addr, PUD_LEVEL); }
inline unsigned pgd_index(vaddr_t addr) { return geometry().index(addr, PGD_LEVEL); }
inline unsigned pmd_shift() { return geometry().shift(PMD_LEVEL); }
inline u64 pmd_size() { return geometry().size(PMD_LEVEL); }
inline u64 pud_size() { return geometry().size(PUD_LEVEL); }
inline u64 pgd_size() { return geometry().size(PGD_LEVEL); }
inline u64 pmd_mask() { return ~(pmd_size() - 1); }
/// A huge page at the PMD level is so many small ones.
inline unsigned hpage_pmd_order() { return level_of(PMD_LEVEL).order(); }
inline unsigned hpage_pmd_nr() { return 1U << hpage_pmd_order(); }
inline bool pud_folded() { return geometry().folded(PUD_LEVEL); }
inline bool pgd_folded() { return geometry().folded(PGD_LEVEL); }

/// The end of what one entry of this level covers from `addr` on, but not beyond `end`.
inline vaddr_t entry_addr_end(vaddr_t addr, vaddr_t end, unsigned level) {
  if (geometry().folded(level)) return end;
  const u64 size = geometry().size(level);
  const vaddr_t boundary = (addr + size) & ~(size - 1);
  return boundary - 1 < end - 1 ? boundary : end; // the -1: `boundary` is 0 in the last entry of all
}
inline vaddr_t pmd_addr_end(vaddr_t addr, vaddr_t end) { return entry_addr_end(addr, end, PMD_LEVEL); }
inline vaddr_t pud_addr_end(vaddr_t addr, vaddr_t end) { return entry_addr_end(addr, end, PUD_LEVEL); }
inline vaddr_t pgd_addr_end(vaddr_t addr, vaddr_t end) { return entry_addr_end(addr, end, PGD_LEVEL); }

// ---- PTE values ------------------------------------------------------------------------------------------

inline bool pte_none(pte_t pte) { return arch().none(pte.val, pte.level()); }
inline bool pte_present(pte_t pte) { return arch().present(pte.val, pte.level()); }
inline bool pte_valid(pte_t pte) { return arch().valid(pte.val, pte.level()); }
inline bool pte_protnone(pte_t pte) { return arch().protnone(pte.val, pte.level()); }
inline bool pte_write(pte_t pte) { return arch().write(pte.val, pte.level()); }
inline bool pte_dirty(pte_t pte) { return arch().dirty(pte.val, pte.level()); }
inline bool pte_young(pte_t pte) { return arch().young(pte.val, pte.level()); }
inline bool pte_special(pte_t pte) { return arch().special(pte.val, pte.level()); }
inline pfn_t pte_pfn(pte_t pte) { return arch().pfn(pte.val, pte.level()); }
inline bool pte_same(pte_t a, pte_t b) { return a.val == b.val; }
/// May GUP-fast take the page? Ask pte_protnone first.
inline bool pte_access_permitted(pte_t pte, bool write) {
  return arch().access_permitted(pte.val, pte.level(), write);
}
/// May a TLB hold it? `flush_pending`: mm_tlb_flush_pending(mm), read under the ptl (M11).
inline bool pte_accessible(pte_t pte, bool flush_pending) {
  return arch().accessible(pte.val, pte.level(), flush_pending);
}
inline bool pte_needs_flush(pte_t from, pte_t to) { return arch().needs_flush(from.val, to.val, to.level()); }

inline pte_t pfn_pte(pfn_t pfn, pgprot_t prot) { return {arch().mk_leaf(pfn, prot, level_of(PTE_LEVEL))}; }
inline pte_t mk_pte(pfn_t pfn, pgprot_t prot) { return pfn_pte(pfn, prot); }
inline pte_t pte_modify(pte_t pte, pgprot_t prot) {
  return pte.with(arch().modify(pte.val, prot, pte.level()));
}
inline pte_t pte_wrprotect(pte_t pte) { return pte.with(arch().wrprotect(pte.val, pte.level())); }
inline pte_t pte_mkwrite(pte_t pte) { return pte.with(arch().mkwrite(pte.val, pte.level())); }
/// Also soft-dirty: software makes an entry dirty where it stands for a store.
inline pte_t pte_mkdirty(pte_t pte) {
  return pte.with(arch().mkdirty(pte.val, pte.level()) | arch().soft_dirty);
}
inline pte_t pte_mkclean(pte_t pte) { return pte.with(arch().mkclean(pte.val, pte.level())); }
inline pte_t pte_mkyoung(pte_t pte) { return pte.with(arch().mkyoung(pte.val, pte.level())); }
inline pte_t pte_mkold(pte_t pte) { return pte.with(arch().mkold(pte.val, pte.level())); }
inline pte_t pte_mkspecial(pte_t pte) { return pte.with(arch().mkspecial(pte.val, pte.level())); }

// Memory of devices: never true where the architecture has no bits for it. Of leaves; what is not present may
// have the bits for another reason, as migration entries on x86 do.
inline bool has_devmap() { return arch().devmap != 0; }
inline bool pte_devmap(pte_t pte) { return has_devmap() && (pte.val & arch().devmap) == arch().devmap; }
/// Also special.
inline pte_t pte_mkdevmap(pte_t pte) { return pte_mkspecial(pte.with(pte.val | arch().devmap)); }

/// Write-protected by userfaultfd: whoever grants the right to store asks first. Of present PTEs, and, by the
/// other names, of swap PTEs.
inline bool pte_has_uffd_wp() { return arch().uffd_wp != 0; }
inline bool pte_uffd_wp(pte_t pte) { return (pte.val & arch().uffd_wp) != 0; }
inline pte_t pte_mkuffd_wp(pte_t pte) { return pte_wrprotect(pte.with(pte.val | arch().uffd_wp)); }
/// The right to store does not come back by itself.
inline pte_t pte_clear_uffd_wp(pte_t pte) { return pte.with(pte.val & ~arch().uffd_wp); }
inline bool pte_swp_uffd_wp(pte_t pte) { return (pte.val & arch().swp_uffd_wp) != 0; }
inline pte_t pte_swp_mkuffd_wp(pte_t pte) { return pte.with(pte.val | arch().swp_uffd_wp); }
inline pte_t pte_swp_clear_uffd_wp(pte_t pte) { return pte.with(pte.val & ~arch().swp_uffd_wp); }

// Soft-dirty: never true where the architecture has no bit for it.
inline bool pte_soft_dirty(pte_t pte) { return (pte.val & arch().soft_dirty) != 0; }
inline pte_t pte_mksoft_dirty(pte_t pte) { return pte.with(pte.val | arch().soft_dirty); }
inline pte_t pte_clear_soft_dirty(pte_t pte) { return pte.with(pte.val & ~arch().soft_dirty); }
inline bool pte_swp_soft_dirty(pte_t pte) { return (pte.val & arch().swp_soft_dirty) != 0; }
inline pte_t pte_swp_mksoft_dirty(pte_t pte) { return pte.with(pte.val | arch().swp_soft_dirty); }
inline pte_t pte_swp_clear_soft_dirty(pte_t pte) { return pte.with(pte.val & ~arch().swp_soft_dirty); }

// ---- PMD values ------------------------------------------------------------------------------------------

inline bool pmd_none(pmd_t pmd) { return arch().none(pmd.val, pmd.level()); }
inline bool pmd_present(pmd_t pmd) { return arch().present(pmd.val, pmd.level()); }
inline bool pmd_valid(pmd_t pmd) { return arch().valid(pmd.val, pmd.level()); }
inline bool pmd_leaf(pmd_t pmd) { return arch().leaf(pmd.val, pmd.level()); }
inline bool pmd_trans_huge(pmd_t pmd) { return arch().trans_huge(pmd.val); }
inline bool pmd_bad(pmd_t pmd) { return arch().bad(pmd.val, pmd.level()); }
inline bool pmd_protnone(pmd_t pmd) { return arch().protnone(pmd.val, pmd.level()); }
inline bool pmd_write(pmd_t pmd) { return arch().write(pmd.val, pmd.level()); }
inline bool pmd_dirty(pmd_t pmd) { return arch().dirty(pmd.val, pmd.level()); }
inline bool pmd_young(pmd_t pmd) { return arch().young(pmd.val, pmd.level()); }
inline bool pmd_special(pmd_t pmd) { return arch().special(pmd.val, pmd.level()); }
inline pfn_t pmd_pfn(pmd_t pmd) { return arch().pfn(pmd.val, pmd.level()); }
inline pfn_t pmd_table_pfn(pmd_t pmd) { return arch().table_pfn(pmd.val); }
inline bool pmd_same(pmd_t a, pmd_t b) { return a.val == b.val; }
/// May GUP-fast take the page? Ask pmd_protnone first.
inline bool pmd_access_permitted(pmd_t pmd, bool write) {
  return arch().access_permitted(pmd.val, pmd.level(), write);
}
inline bool pmd_accessible(pmd_t pmd, bool flush_pending) {
  return arch().accessible(pmd.val, pmd.level(), flush_pending);
}
inline bool huge_pmd_needs_flush(pmd_t from, pmd_t to) {
  return arch().needs_flush(from.val, to.val, to.level());
}

inline pmd_t mk_huge_pmd(pfn_t pfn, pgprot_t prot) {
  return {arch().mk_leaf(pfn, prot, level_of(PMD_LEVEL))};
}
inline pmd_t mk_pmd_table(pfn_t pfn) { return {arch().mk_table(pfn, level_of(PMD_LEVEL))}; }
inline pmd_t pmd_modify(pmd_t pmd, pgprot_t prot) {
  return pmd.with(arch().modify(pmd.val, prot, pmd.level()));
}
inline pmd_t pmd_wrprotect(pmd_t pmd) { return pmd.with(arch().wrprotect(pmd.val, pmd.level())); }
inline pmd_t pmd_mkwrite(pmd_t pmd) { return pmd.with(arch().mkwrite(pmd.val, pmd.level())); }
/// Also soft-dirty, as pte_mkdirty.
inline pmd_t pmd_mkdirty(pmd_t pmd) {
  return pmd.with(arch().mkdirty(pmd.val, pmd.level()) | arch().soft_dirty);
}
inline pmd_t pmd_mkclean(pmd_t pmd) { return pmd.with(arch().mkclean(pmd.val, pmd.level())); }
inline pmd_t pmd_mkyoung(pmd_t pmd) { return pmd.with(arch().mkyoung(pmd.val, pmd.level())); }
inline pmd_t pmd_mkold(pmd_t pmd) { return pmd.with(arch().mkold(pmd.val, pmd.level())); }
inline pmd_t pmd_mkspecial(pmd_t pmd) { return pmd.with(arch().mkspecial(pmd.val, pmd.level())); }
inline bool pmd_devmap(pmd_t pmd) { return has_devmap() && (pmd.val & arch().devmap) == arch().devmap; }
inline pmd_t pmd_mkdevmap(pmd_t pmd) { return pmd.with(pmd.val | arch().devmap); }
/// Of a present pmd: of a swap pmd several architectures make a present one (S4.1).
inline pmd_t pmd_mkinvalid(pmd_t pmd, site s = RW_HERE) {
  VM_BUG_ON(!pmd_present(pmd), "INV-TYPE", "an entry that is not present is made an invalid leaf", s);
  return pmd.with(arch().mkinvalid(pmd.val, pmd.level()));
}

inline bool pmd_soft_dirty(pmd_t pmd) { return (pmd.val & arch().soft_dirty) != 0; }
inline pmd_t pmd_mksoft_dirty(pmd_t pmd) { return pmd.with(pmd.val | arch().soft_dirty); }
inline pmd_t pmd_clear_soft_dirty(pmd_t pmd) { return pmd.with(pmd.val & ~arch().soft_dirty); }
inline bool pmd_swp_soft_dirty(pmd_t pmd) { return (pmd.val & arch().swp_soft_dirty) != 0; }
inline pmd_t pmd_swp_mksoft_dirty(pmd_t pmd) { return pmd.with(pmd.val | arch().swp_soft_dirty); }

// ---- PUD and PGD values: tables only ---------------------------------------------------------------------

inline bool pud_none(pud_t pud) { return !pud_folded() && arch().none(pud.val, pud.level()); }
inline bool pud_present(pud_t pud) { return pud_folded() || arch().present(pud.val, pud.level()); }
inline bool pud_leaf(pud_t pud) { return !pud_folded() && arch().leaf(pud.val, pud.level()); }
inline bool pud_bad(pud_t pud) { return !pud_folded() && arch().bad(pud.val, pud.level()); }
inline pfn_t pud_table_pfn(pud_t pud) { return arch().table_pfn(pud.val); }
inline pud_t mk_pud_table(pfn_t pfn) { return {arch().mk_table(pfn, level_of(PUD_LEVEL))}; }

inline bool pgd_none(pgd_t pgd) { return !pgd_folded() && arch().none(pgd.val, pgd.level()); }
inline bool pgd_present(pgd_t pgd) { return pgd_folded() || arch().present(pgd.val, pgd.level()); }
inline bool pgd_leaf(pgd_t) { return false; } // no architecture maps memory at this level
inline bool pgd_bad(pgd_t pgd) { return !pgd_folded() && arch().bad(pgd.val, pgd.level()); }
inline pfn_t pgd_table_pfn(pgd_t pgd) { return arch().table_pfn(pgd.val); }
inline pgd_t mk_pgd_table(pfn_t pfn) { return {arch().mk_table(pfn, level_of(PGD_LEVEL))}; }

// ---- from a table to a slot ------------------------------------------------------------------------------

/// The word of `table` that translates `addr` at this level. `dep` is the read that `table` was found by; for
/// a root table, or one that the caller holds by a lock, there is none.
inline ref<u64> entry_word(word_t* table, dep_t dep, unsigned level, vaddr_t addr) {
  return {table + geometry().index(addr, level), dep};
}
/// The top slot for `addr` in a root table: with folded levels, the slot that the levels below will fold
/// into.
inline pgdp_t pgd_offset_in(word_t* root, vaddr_t addr) {
  return pgdp_t(entry_word(root, {}, geometry().root_level(), addr));
}
/// The next slot down. `table` is the page that the entry points to; of a folded level it is not looked at.
inline pudp_t pud_offset_in(pgdp_t pgdp, pgd_t pgd, word_t* table, vaddr_t addr) {
  return pudp_t(pgd_folded() ? pgdp.word() : entry_word(table, pgd.dep, PUD_LEVEL, addr));
}
inline pmdp_t pmd_offset_in(pudp_t pudp, pud_t pud, word_t* table, vaddr_t addr) {
  return pmdp_t(pud_folded() ? pudp.word() : entry_word(table, pud.dep, PMD_LEVEL, addr));
}
inline ptep_t pte_offset_in(pmd_t pmd, word_t* table, vaddr_t addr) {
  return ptep_t(entry_word(table, pmd.dep, PTE_LEVEL, addr));
}

// ---- reading and writing slots ---------------------------------------------------------------------------

/// READ_ONCE of a slot, any level. Needs: nothing; without the lock the answer may be stale when it arrives.
template <unsigned Level> entry_t<Level> read_entry(const slot_t<Level>& slot, site s = RW_HERE) {
  const auto [value, dep] = read_dep(slot.word(), s);
  return {value, dep};
}
/// What a walker without a lock reads of an entry of two words: the low one, the high one, and the low one
/// again until it is the same. What it returns was there, unless the entry was taken away and another one
/// with the same low word put in its place meanwhile: who empties slots without interrupting this walker
/// calls pmdp_get_lockless_sync() first (S3.8).
///
/// Both words stand in one word of memory here. To write a half is to write the whole with the other half as
/// it was, which nobody else writes meanwhile; to read one is to read the whole and look at that half. Where
/// neither stores nor loads change places among themselves (tso, the model of those that have such entries)
/// that shows the same as two words would.
template <unsigned Level> entry_t<Level> read_halves(const slot_t<Level>& slot, site s) {
  const u64 low_half = arch().low_half;
  for (;;) {
    const u64 low = READ_ONCE(slot.word(), s) & low_half;
    smp_rmb(s); // pairs with the order of the stores in exchange_halves()
    const u64 high = READ_ONCE(slot.word(), s) & ~low_half;
    smp_rmb(s); // the same
    if (const auto [again, dep] = read_dep(slot.word(), s); (again & low_half) == low)
      return {high | low, dep};
  }
}
/// Makes an entry of two words one that is not present: the low word by an exchange, then the high one.
template <unsigned Level> entry_t<Level> exchange_halves(const slot_t<Level>& slot, u64 entry, site s) {
  const u64 low_half = arch().low_half;
  u64 old = READ_ONCE(slot.word(), s);
  while (!try_cmpxchg(slot.word(), old, (old & ~low_half) | (entry & low_half), order::full, s)) {
  }
  WRITE_ONCE(slot.word(), entry, s); // after the low word: the exchange is a full barrier
  return {old};
}
/// What a walker that holds no lock reads.
template <unsigned Level> entry_t<Level> read_entry_lockless(const slot_t<Level>& slot, site s) {
  return arch().split_words() ? read_halves(slot, s) : read_entry(slot, s);
}

/// An entry without the lock that the low-level fault of a hash MMU may hold on it.
inline u64 unlocked(u64 entry) { return entry & ~arch().hash_busy; }
/// READ_ONCE of a live entry that is to be changed; waits until it is not locked. Acquire, where it can be:
/// pairs with the release in hash_page().
template <unsigned Level> u64 read_settled(const slot_t<Level>& slot, site s) {
  return arch().hash_mmu() ? smp_cond_load_acquire(slot.word(), arch().hash_busy, 0, s)
                           : READ_ONCE(slot.word(), s);
}

/// Replaces an entry by `entry` and returns what it was, in one atomic step whose ordering is the
/// architecture's.
template <unsigned Level>
entry_t<Level> exchange_entry(const slot_t<Level>& slot, u64 entry, site s = RW_HERE) {
  if (!arch().hash_mmu()) return {xchg(slot.word(), entry, arch().xchg_order, s)};
  for (;;)
    if (u64 old = read_settled(slot, s); try_cmpxchg(slot.word(), old, unlocked(entry), arch().xchg_order, s))
      return {old};
}
/// Applies `change`, one of arch_desc's or of its kind, atomically with respect to hardware that sets A and
/// D. Orders nothing. Returns the entry as it was.
template <unsigned Level, class Change>
entry_t<Level> update_entry(const slot_t<Level>& slot, Change change, site s = RW_HERE) {
  const level_t level = level_of(Level);
  for (u64 old = read_settled(slot, s);;) {
    if (try_cmpxchg(slot.word(), old, change(old, level), order::relaxed, s)) return {old};
    if (arch().hash_mmu()) old = read_settled(slot, s);
  }
}

/// Makes the entry none by a plain store.
template <unsigned Level> void write_none(const slot_t<Level>& slot, site s = RW_HERE) {
  if (arch().split_words()) { // the low word first
    WRITE_ONCE(slot.word(), READ_ONCE(slot.word(), s) & ~arch().low_half, s);
    smp_wmb(s); // pairs with read_halves()
  }
  WRITE_ONCE(slot.word(), 0, s);
}

inline pte_t ptep_get(const ptep_t& ptep, site s = RW_HERE) { return read_entry(ptep, s); }
/// As ptep_get, for walkers that hold no lock (M1 step 3).
inline pte_t ptep_get_lockless(const ptep_t& ptep, site s = RW_HERE) { return read_entry_lockless(ptep, s); }
inline pmd_t pmdp_get(const pmdp_t& pmdp, site s = RW_HERE) { return read_entry(pmdp, s); }
inline pmd_t pmdp_get_lockless(const pmdp_t& pmdp, site s = RW_HERE) { return read_entry_lockless(pmdp, s); }
inline pud_t pudp_get(const pudp_t& pudp, site s = RW_HERE) {
  return pud_folded() ? pud_t{} : read_entry(pudp, s);
}
inline pgd_t pgdp_get(const pgdp_t& pgdp, site s = RW_HERE) {
  return pgd_folded() ? pgd_t{} : read_entry(pgdp, s);
}

// Stores and exchanges of whole entries. mm/pgtable.h makes set_pte_at() and the like of them, which is what
// the manager uses.

/// A plain store. Needs the ptl, and that no hardware can be updating the entry: it is none or not valid, or
/// the new value loses nothing that a concurrent A or D could add.
inline void set_pte(const ptep_t& ptep, pte_t pte, site s = RW_HERE) {
  if (arch().split_words()) { // the high word first
    WRITE_ONCE(ptep.word(), (READ_ONCE(ptep.word(), s) & arch().low_half) | (pte.val & ~arch().low_half), s);
    smp_wmb(s); // pairs with read_halves()
  }
  WRITE_ONCE(ptep.word(), unlocked(pte.val), s);
}
/// A plain store; as set_pte, under the pml.
inline void set_pmd(const pmdp_t& pmdp, pmd_t pmd, site s = RW_HERE) {
  WRITE_ONCE(pmdp.word(), unlocked(pmd.val), s);
}
/// Replaces a live pmd and returns it with the A and D that hardware set up to that moment. Needs the pml.
inline pmd_t exchange_pmd(const pmdp_t& pmdp, pmd_t pmd, site s = RW_HERE) {
  const bool in_halves = arch().split_words() && !pmd_valid(pmd); // else by an exchange of both words
  return in_halves ? exchange_halves(pmdp, pmd.val, s) : exchange_entry(pmdp, pmd.val, s);
}

/// Takes the right to store away and keeps what hardware recorded. Needs the ptl.
inline void ptep_set_wrprotect(vaddr_t, const ptep_t& ptep, site s = RW_HERE) {
  update_entry(ptep, arch().wrprotect, s);
}
/// Needs the ptl. Returns whether it was young; flushes nothing, so a TLB may keep the page's accesses
/// hidden.
inline bool ptep_test_and_clear_young(vaddr_t, const ptep_t& ptep, site s = RW_HERE) {
  if (!pte_young(ptep_get(ptep, s))) return false;
  return pte_young(update_entry(ptep, arch().mkold, s));
}
/// Makes the entry `entry`, which is the present one made young, dirty or writable. Needs the ptl. Returns
/// whether the entry changed. A and D that hardware set meanwhile are kept.
inline bool relax_pte(const ptep_t& ptep, pte_t entry, site s = RW_HERE) {
  const auto relaxed_to = [&](u64 old, level_t level) {
    u64 e = unlocked(entry.val);
    if (arch().young(old, level)) e = arch().mkyoung(e, level);
    if (arch().dirty(old, level)) e = arch().mkdirty(e, level);
    return e;
  };
  if (pte_same(ptep_get(ptep, s), entry)) return false;
  update_entry(ptep, relaxed_to, s);
  return true;
}
/// Stores `entry` if the slot still holds `expected`; true if it did.
inline bool ptep_cmpxchg(const ptep_t& ptep, pte_t expected, pte_t entry, site s = RW_HERE) {
  u64 old = unlocked(expected.val); // a locked entry is another one
  return try_cmpxchg(ptep.word(), old, unlocked(entry.val), order::full, s);
}
/// Needs the pml, or that nobody else can reach the table.
inline void pmd_clear(const pmdp_t& pmdp, site s = RW_HERE) { write_none(pmdp, s); }
/// Needs the pml.
inline void pmdp_set_wrprotect(vaddr_t, const pmdp_t& pmdp, site s = RW_HERE) {
  update_entry(pmdp, arch().wrprotect, s);
}
inline bool pmdp_test_and_clear_young(vaddr_t, const pmdp_t& pmdp, site s = RW_HERE) {
  if (!pmd_young(pmdp_get(pmdp, s))) return false;
  return pmd_young(update_entry(pmdp, arch().mkold, s));
}

/// Publishes a table. Needs the lock of the slot's table (pml, or the mm's page_table_lock above), and that
/// the caller's smp_wmb() stands between filling the table and this store; pairs with the address dependency
/// of whoever reads the slot and follows it (M1).
inline void pmd_populate_raw(const pmdp_t& pmdp, pfn_t table, site s = RW_HERE) {
  WRITE_ONCE(pmdp.word(), mk_pmd_table(table).val, s);
}
inline void pud_populate_raw(const pudp_t& pudp, pfn_t table, site s = RW_HERE) {
  WRITE_ONCE(pudp.word(), mk_pud_table(table).val, s);
}
inline void pgd_populate_raw(const pgdp_t& pgdp, pfn_t table, site s = RW_HERE) {
  WRITE_ONCE(pgdp.word(), mk_pgd_table(table).val, s);
}
/// Unhooks a table. Needs the lock of the slot's table, or that no walker but a lockless one can reach it.
inline void pud_clear(const pudp_t& pudp, site s = RW_HERE) { WRITE_ONCE(pudp.word(), 0, s); }
inline void pgd_clear(const pgdp_t& pgdp, site s = RW_HERE) { WRITE_ONCE(pgdp.word(), 0, s); }

} // namespace racewalk::inline RACEWALK_BACKEND
