// The software TLB of a CPU, natively.
//
// An entry is one word, key and frame together, so it is read and removed atomically:
//
//   63        38 37  36 35       18 17            0
//   [ frame     | W | 0 | epoch    | address >> 30 ]      W: stores need no look at the page table
//
// Two direct-mapped arrays hold them: one for 4 KiB pages, reaching 1 GiB, one for 2 MiB pages. `control` holds the
// current epoch at the same place, so that comparing (control | address >> 30) with an entry's low bits checks
// everything at once: a full flush is an increment of the epoch, and the attention bit (36), which no entry has, makes every access
// miss until the CPU has looked into why.
//
// Invariant: once invalidate_remote() has returned, no access of the target goes through a translation that it
// covers. Why:
//   loads   read the entry, the data, then the entry again. If it was still there, so was it when the data was
//           read, which is before the invalidation. Loads store nothing.
//   stores  cannot be taken back, so they announce themselves: in_access = 1; light barrier; look; store;
//           in_access = 0. Only if the invalidator removed an entry that lets stores through does it wait for such
//           an access: it raises attention and waits until the target, at its next access, acknowledges; if that takes
//           long it pays the heavy barrier and waits for in_access == 0 instead.
//   fills   come from a page-table walk that may have read what has been changed meanwhile. A fill writes
//           the entry, then looks whether `flush_seq` moved since before the walk; the invalidator moves it, then
//           looks at the entry. One of them sees the other.
// Invalidations of one TLB exclude each other (flush_seq is odd while one is at work), so one that finds nothing to
// remove cannot overtake another that still waits for a store.
#pragma once

#include <bit>
#include <cstring>

#include "sync/host_memory.h"
#include "sync/native/asymmetric.h"
#include "sync/native/lock.h"
#include "sync/native/run.h"

namespace racewalk::inline native {

/// What a page-table walk found: where a virtual page lies, and what may be done without another walk.
struct mapping {
  pfn_t pfn;     ///< of the 4 KiB page that holds the address
  bool huge;     ///< part of a 2 MiB page
  bool writable; ///< stores are permitted and have been recorded
};

class tlb_t {
public:
  static constexpr unsigned SMALL_BITS = 18; ///< 4 KiB entries: 1 GiB
  static constexpr unsigned HUGE_BITS = 9;   ///< 2 MiB entries: 1 GiB
  static constexpr pfn_t MAX_PFN = (pfn_t{1} << 26) - 1;
  /// Ranges of more entries than this are flushed by dropping everything.
  static constexpr u64 SINGLE_ENTRY_CEILING = 512;

  /// `frames`: the byte at physical address 0.
  explicit tlb_t(std::byte* frames);
  tlb_t(const tlb_t&) = delete;
  tlb_t& operator=(const tlb_t&) = delete;

  // ---- the owner's accesses; false: not cached, walk ----

  template <class T> bool load(vaddr_t va, T& value);
  template <class T> bool store(vaddr_t va, T value);
  /// A read-modify-write: access(ref<T>), made where a store may be made.
  template <class T, class F> bool update(vaddr_t va, F&& access);
  /// Lets access(host address) touch what follows `va` in its 4 KiB page. No invalidation that
  /// covers them completes meanwhile: it must be short and must not wait.
  template <class F> bool span(vaddr_t va, bool write, F&& access);

  // ---- the owner's walks ----

  /// A walk in progress.
  struct walk_token {
    u32 flush_seq;
  };
  /// Serves whatever asks for attention, then begins a walk. Invalidations wait for its end when tables are freed.
  walk_token walk_begin(site = {});
  void walk_end(site = {});
  /// Caches what the walk found, unless an invalidation came in between. Always false: the access goes through
  /// the TLB. (A TLB that caches nothing makes the access here, and returns true.)
  template <class T, class F> bool complete(walk_token token, vaddr_t va, const mapping& m, F&&) {
    fill(token, va, m);
    return false;
  }

  // ---- invalidation ----

  /// By the owner, or on its behalf while it is stopped.
  void invalidate(const tlb_range& range);
  void invalidate_all();
  /// By another CPU. On return no access of this CPU uses what was removed.
  void invalidate_remote(const tlb_range& range);

  // ---- attention: how another CPU reaches the owner (smp.cc) ----

  /// An interrupt waits: accesses miss and sections with interrupts off are not entered until it was served.
  static constexpr u64 IPI_PENDING = u64{1} << 35;
  /// An invalidator wants to know that no store is under way; cleared by whoever has made sure.
  static constexpr u64 FLUSH_PENDING = u64{1} << 36;
  static constexpr u64 ATTENTION = IPI_PENDING | FLUSH_PENDING;

  /// Full barrier.
  void raise(u64 attention) { control_.fetch_or(attention); }
  /// Full barrier.
  void lower(u64 attention) { control_.fetch_and(~attention); }
  bool raised(u64 attention) const { return (control_.load(std::memory_order_acquire) & attention) != 0; }
  /// Is the owner in a store or a walk? Meaningful after raise() and heavy_barrier().
  bool in_access() const { return in_access_.load(std::memory_order_acquire) != 0; }
  /// By the owner, outside accesses: acknowledges FLUSH_PENDING.
  void acknowledge();

private:
  using slot_t = std::atomic<u64>;
  static constexpr unsigned TAG_SHIFT = 30;
  static constexpr unsigned PFN_SHIFT = 38;
  static constexpr u64 EPOCH_ONE = u64{1} << 18;
  static constexpr u64 EPOCH_MASK = (IPI_PENDING - 1) & ~(EPOCH_ONE - 1);
  static constexpr u64 WRITABLE = u64{1} << 37;
  static constexpr unsigned HUGE_SHIFT = 21;
  static constexpr unsigned SMALL_SHIFT = 12;
  static constexpr unsigned ADDRESS_BITS = 48;

  /// Not aligned to T, or no user address.
  template <class T> static bool unsuitable(vaddr_t va) {
    constexpr int align = std::countr_zero(sizeof(T));
    return (std::rotr(va, align) >> (ADDRESS_BITS - align)) != 0;
  }
  slot_t& small_slot(vaddr_t va) const { return small_[(va >> SMALL_SHIFT) & ((1U << SMALL_BITS) - 1)]; }
  slot_t& huge_slot(vaddr_t va) const { return huge_[(va >> HUGE_SHIFT) & ((1U << HUGE_BITS) - 1)]; }
  std::byte* host(u64 entry, vaddr_t va, unsigned shift) const {
    return frames_ + ((entry >> PFN_SHIFT) << SMALL_SHIFT) + (va & ((u64{1} << shift) - 1));
  }
  /// Do the bits below `bits` agree?
  static bool match(u64 entry, u64 want, unsigned bits) { return ((entry ^ want) << (64 - bits)) == 0; }

  /// A cached entry and where it was found.
  struct hit {
    const slot_t* slot;
    u64 entry;
    std::byte* at;
  };
  /// The entry that matches the low `bits` of `want`, if any.
  bool find(vaddr_t va, u64 want, unsigned bits, hit& h) const;
  template <class F> bool bracketed(vaddr_t va, u64 extra, F&& access);
  void fill(walk_token token, vaddr_t va, const mapping& m);

  u32 lock_flushes();
  void unlock_flushes(u32 seq);
  /// Removes entries; true if one of them let stores through.
  bool remove(const tlb_range& range);
  bool remove_from(slot_t& slot, vaddr_t va);
  /// Removes everything.
  void next_epoch();
  static bool few_entries(const tlb_range& range) {
    return range.end > range.start &&
           (range.end - range.start) >> (range.levels & 1 ? SMALL_SHIFT : HUGE_SHIFT) <= SINGLE_ENTRY_CEILING;
  }
  /// May anything of the 2 MiB around `va` be cached? One bit for each, modulo 1 GiB.
  bool was_filled(vaddr_t va) const {
    return (filled_[(va >> 27) & 7].load(std::memory_order_relaxed) & BIT((va >> HUGE_SHIFT) & 63)) != 0;
  }
  void note_filled(vaddr_t va) {
    auto& word = filled_[(va >> 27) & 7];
    if (!was_filled(va)) word.store(word.load(std::memory_order_relaxed) | BIT((va >> HUGE_SHIFT) & 63), std::memory_order_relaxed);
  }
  /// Returns when every store that may have used a removed entry is done.
  void drain_stores();

  host_memory small_memory_;
  host_memory huge_memory_;
  // what every access reads
  alignas(64) std::atomic<u64> control_{EPOCH_ONE};
  slot_t* small_;
  slot_t* huge_;
  std::byte* frames_;
  std::atomic<bool> has_huge_{false};     ///< since the last full flush
  std::atomic<bool> has_writable_{false}; ///< since the last full flush
  // what the owner writes
  alignas(64) std::atomic<u32> in_access_{0};
  alignas(64) std::atomic<u64> filled_[8] = {}; ///< since the last full flush
  // what invalidators write
  alignas(64) std::atomic<u32> flush_seq_{0};
  unsigned unanswered_ = 0; ///< drains in a row that had to stop the owner; protected by flush_seq_
};

// ---- the paths that must be short ------------------------------------------------------------------------

inline bool tlb_t::find(vaddr_t va, u64 want, unsigned bits, hit& h) const {
  if (has_huge_.load(std::memory_order_relaxed)) {
    slot_t& slot = huge_slot(va);
    u64 e = slot.load(std::memory_order_acquire);
    if (match(e, want, bits)) [[likely]] {
      h = {&slot, e, host(e, va, HUGE_SHIFT)};
      return true;
    }
  }
  slot_t& slot = small_slot(va);
  u64 e = slot.load(std::memory_order_acquire);
  if (!match(e, want, bits)) [[unlikely]]
    return false;
  h = {&slot, e, host(e, va, SMALL_SHIFT)};
  return true;
}

/// The form of access that an invalidator waits for.
template <class F> bool tlb_t::bracketed(vaddr_t va, u64 extra, F&& access) {
  in_access_.store(1, std::memory_order_relaxed);
  light_barrier(); // pairs with heavy_barrier() in drain_stores()
  u64 want = control_.load(std::memory_order_acquire) | (va >> TAG_SHIFT) | extra;
  hit h;
  bool found = find(va, want, extra ? PFN_SHIFT : PFN_SHIFT - 1, h);
  if (found) [[likely]]
    access(h.at);
  in_access_.store(0, std::memory_order_release); // pairs with in_access()
  return found;
}

template <class T> bool tlb_t::load(vaddr_t va, T& value) {
  if (unsuitable<T>(va)) [[unlikely]]
    return false;
  if constexpr (tsan_build)
    return bracketed(va, 0, [&](std::byte* at) {
      value = reinterpret_cast<std::atomic<T>*>(at)->load(std::memory_order_relaxed);
    });
  u64 control = control_.load(std::memory_order_acquire);
  hit h;
  if (!find(va, control | (va >> TAG_SHIFT), PFN_SHIFT - 1, h)) [[unlikely]]
    return false;
  value = reinterpret_cast<std::atomic<T>*>(h.at)->load(std::memory_order_relaxed);
  // the data before the second look; pairs with the barrier that ends invalidate_remote()
  std::atomic_thread_fence(std::memory_order_acquire);
  return h.slot->load(std::memory_order_relaxed) == h.entry &&
         control_.load(std::memory_order_relaxed) == control;
}

template <class T> bool tlb_t::store(vaddr_t va, T value) {
  if (unsuitable<T>(va)) [[unlikely]]
    return false;
  return bracketed(va, WRITABLE, [&](std::byte* at) {
    reinterpret_cast<std::atomic<T>*>(at)->store(value, std::memory_order_relaxed);
  });
}

template <class T, class F> bool tlb_t::update(vaddr_t va, F&& access) {
  if (unsuitable<T>(va)) [[unlikely]]
    return false;
  return bracketed(va, WRITABLE, [&](std::byte* at) { access(ref<T>(*reinterpret_cast<shared<T>*>(at))); });
}

template <class F> bool tlb_t::span(vaddr_t va, bool write, F&& access) {
  if (va >> ADDRESS_BITS) [[unlikely]]
    return false;
  return bracketed(va, write ? WRITABLE : 0, access);
}

} // namespace racewalk::inline native
