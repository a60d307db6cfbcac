// The software TLB of a CPU, natively.
//
// An entry is {tag, addend}: host address = virtual address + addend. The tag is one word, compared as a
// whole:
//
//   63                          12 11    7 6 5 4 3 2 0
//   [ page of the virtual address | epoch | 0 0 H R 000 ]
//
//   R  loads only: a store needs a walk, because it is forbidden or not yet recorded in the page table
//   (dirty) H  was cached while entries for 2 MiB pages existed
//
// An access compares with (address & page-and-alignment mask) | control, so one comparison checks the page,
// that the access is aligned, and everything that `control` says: a full flush is a new epoch; H makes
// accesses look among the 2 MiB pages first; the attention bits (5, 6), which no entry has, make every access
// miss until the CPU has looked into why. Two direct-mapped arrays of entries, one for each page size, reach
// 1 GiB each.
//
// Invariant: once invalidate_remote() has returned, no access of the target goes through a translation that
// it covers. Why:
//   loads   read the entry, the data, then the entry again. If it was still there, so was it when the data
//           was read, which is before the invalidation. Loads store nothing.
//   stores  cannot be taken back, so they announce themselves: in_access = 1; light barrier; look; store;
//           in_access = 0. Only if the invalidator removed an entry that lets stores through does it wait for
//           such an access: it raises attention and waits until the target, at its next access, acknowledges;
//           if that takes long it pays the heavy barrier and waits for in_access == 0 instead.
//   spans   read at length, and gathers from many places at once, where a second look is no help: they
//           announce themselves as stores do, and from the first one on the invalidator waits whatever it
//           removed.
//   fills   come from a page-table walk that may have read what has been changed meanwhile. A fill writes
//           the entry, then looks whether `flush_seq` moved since before the walk; the invalidator moves it,
//           then looks at the entry. One of them sees the other.
// Invalidations of one TLB exclude each other (flush_seq is odd while one is at work), so one that finds
// nothing to remove cannot overtake another that still waits for a store.
#pragma once

#include <span>

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
  static constexpr unsigned SMALL_BITS = 18;    ///< 4 KiB entries: 1 GiB
  static constexpr unsigned HUGE_BITS = 9;      ///< 2 MiB entries: 1 GiB
  static constexpr std::size_t GATHER_MAX = 64; ///< addresses, a bit each of what gather() returns
  /// Ranges of more entries than this are flushed by dropping everything.
  static constexpr u64 SINGLE_ENTRY_CEILING = 512;
  static constexpr std::size_t TABLE_BYTES = std::size_t{16} * ((1U << SMALL_BITS) + (1U << HUGE_BITS));

  /// `frames`: the byte at physical address 0; `tables`: TABLE_BYTES of zeroes to keep the entries in.
  tlb_t(std::byte* frames, std::byte* tables);
  tlb_t(const tlb_t&) = delete;
  tlb_t& operator=(const tlb_t&) = delete;

  // ---- the owner's accesses; false: not cached, walk ----

  template <class T> bool load(vaddr_t va, T& value);
  template <class T> bool store(vaddr_t va, T value);
  /// A read-modify-write: access(ref<T>), made where a store may be made.
  template <class T, class F> bool update(vaddr_t va, F&& access);
  /// Loads from every address, which are at most GATHER_MAX, to its place in `values`. Returns a bit for each
  /// that is not cached. As a span is: one announcement is for all, so that none needs a second look.
  template <class T> u64 gather(std::span<const vaddr_t> addresses, T* values);
  /// Lets access(host address) touch what follows `va` in its 4 KiB page. No invalidation that covers it
  /// completes meanwhile: it must be short and must not wait.
  template <class F> bool span(vaddr_t va, bool write, F&& access);

  // ---- the owner's walks ----

  /// A walk in progress.
  struct walk_token {
    u32 flush_seq;
  };
  /// Serves whatever asks for attention, then begins a walk. No table that it may be in is freed before its
  /// end.
  walk_token walk_begin(site = {});
  void walk_end(site = {});
  /// Caches what the walk found, unless an invalidation came in between. Always false: the access goes
  /// through the TLB. (A TLB that caches nothing makes the access here, and returns true.)
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
  /// Of a device, which takes no interrupts: no walk that was under way is, either. `id`: its thread's
  /// number.
  void invalidate_device(unsigned id, const tlb_range& range, site = {});

  // ---- attention: how another CPU reaches the owner (smp.cc) ----

  /// An interrupt waits: accesses miss and sections with interrupts off are not entered until it was served.
  static constexpr u64 IPI_PENDING = 1U << 5;
  /// An invalidator wants to know that no store is under way; cleared by whoever has made sure.
  static constexpr u64 FLUSH_PENDING = 1U << 6;
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
  struct entry {
    std::atomic<u64> tag;
    std::atomic<u64> addend; ///< written by the owner only
  };
  static_assert(sizeof(entry) == 16);

  static constexpr u64 READ_ONLY = 1U << 3;
  static constexpr u64 HAS_HUGE = 1U << 4;
  static constexpr u64 EPOCH_ONE = 1U << 7;
  static constexpr u64 EPOCH_MASK = 31 * EPOCH_ONE; ///< epoch 0 is never current, so tag 0 matches nothing
  static constexpr unsigned SMALL_SHIFT = 12;
  static constexpr unsigned HUGE_SHIFT = 21;
  static constexpr u64 SMALL_SIZE = u64{1} << SMALL_SHIFT;
  static constexpr u64 HUGE_SIZE = u64{1} << HUGE_SHIFT;
  static constexpr unsigned REGIONS = 512; ///< of 2 MiB, modulo 1 GiB

  entry& small_entry(vaddr_t va) const { return small_[(va >> SMALL_SHIFT) % (1U << SMALL_BITS)]; }
  entry& huge_entry(vaddr_t va) const { return huge_[(va >> HUGE_SHIFT) % (1U << HUGE_BITS)]; }

  /// A cached entry, and the tag it had.
  struct hit {
    const entry* at;
    u64 tag;
    [[nodiscard]] std::byte* host(vaddr_t va) const {
      return reinterpret_cast<std::byte*>(va + at->addend.load(std::memory_order_relaxed));
    }
  };
  /// The entry for an access of `align` bytes, aligned to that.
  template <std::size_t align> bool find(vaddr_t va, u64 control, bool write, hit& h) const;
  /// What access(control) does is what an invalidator waits for. Returns what it returns.
  template <class F> auto announced(F&& access);
  /// One such access.
  template <std::size_t align, class F> bool bracketed(vaddr_t va, bool write, F&& access);
  void fill(walk_token token, vaddr_t va, const mapping& m);

  u32 lock_flushes();
  void unlock_flushes(u32 seq);
  /// Removes entries; true if an access that announces itself may be using one of them.
  bool remove(const tlb_range& range);
  bool remove_from(entry& e, vaddr_t page) const;
  void expect_spans();
  /// Removes everything.
  void next_epoch();
  void clear_tables();
  static bool few_entries(const tlb_range& range) {
    return range.end > range.start &&
           (range.end - range.start) >> (range.levels & 1 ? SMALL_SHIFT : HUGE_SHIFT) <= SINGLE_ENTRY_CEILING;
  }
  /// Returns when every access that announced itself and may have used a removed entry is done.
  void drain_accesses();

  /// Which regions have had entries.
  struct region_set {
    std::atomic<u64> words[REGIONS / 64] = {};
    [[nodiscard]] bool has(vaddr_t va) const {
      const u64 n = va >> HUGE_SHIFT;
      return (words[n / 64 % (REGIONS / 64)].load(std::memory_order_relaxed) >> n % 64 & 1) != 0;
    }
    void add(vaddr_t va) {
      const u64 n = va >> HUGE_SHIFT;
      auto& word = words[n / 64 % (REGIONS / 64)];
      word.store(word.load(std::memory_order_relaxed) | u64{1} << n % 64, std::memory_order_relaxed);
    }
    void clear() {
      for (auto& word : words)
        word.store(0, std::memory_order_relaxed);
    }
  };

  // what every access reads
  alignas(64) std::atomic<u64> control_{EPOCH_ONE};
  entry* const small_;
  entry* const huge_;
  std::byte* const frames_;
  std::atomic<bool> has_writable_{false};   ///< in this epoch
  std::atomic<bool> has_spans_{tsan_build}; ///< loads may announce themselves; changes under flush_seq_
  // what the owner writes
  alignas(64) std::atomic<u32> in_access_{0};
  alignas(64) region_set filled_;     ///< in this epoch
  alignas(64) region_set not_zeroed_; ///< since the tables were all zero
  // what invalidators write
  alignas(64) std::atomic<u32> flush_seq_{0};
  unsigned unanswered_ = 0; ///< drains in a row that had to stop the owner; protected by flush_seq_
};

// ---- the paths that must be short ------------------------------------------------------------------------

template <std::size_t align>
[[gnu::always_inline]] inline bool tlb_t::find(vaddr_t va, u64 control, bool write, hit& h) const {
  if (control & HAS_HUGE) {
    const entry& e = huge_entry(va);
    u64 want = (va & (~(HUGE_SIZE - 1) | (align - 1))) | control;
    u64 tag = e.tag.load(std::memory_order_acquire);
    if (tag == want || (!write && tag == (want | READ_ONLY))) [[likely]] {
      h = {&e, tag};
      return true;
    }
  }
  const entry& e = small_entry(va);
  u64 want = (va & (~(SMALL_SIZE - 1) | (align - 1))) | control;
  u64 tag = e.tag.load(std::memory_order_acquire);
  h = {&e, tag};
  return tag == want || (!write && tag == (want | READ_ONLY));
}

template <class F> [[gnu::always_inline]] inline auto tlb_t::announced(F&& access) {
  in_access_.store(1, std::memory_order_relaxed);
  light_barrier(); // pairs with heavy_barrier() in drain_accesses()
  const auto done = access(control_.load(std::memory_order_acquire));
  in_access_.store(0, std::memory_order_release); // pairs with in_access()
  return done;
}

template <std::size_t align, class F>
[[gnu::always_inline]] inline bool tlb_t::bracketed(vaddr_t va, bool write, F&& access) {
  return announced([&](u64 control) {
    hit h;
    const bool found = find<align>(va, control, write, h);
    if (found) [[likely]]
      access(h.host(va));
    return found;
  });
}

template <class T> [[gnu::always_inline]] inline bool tlb_t::load(vaddr_t va, T& value) {
  if constexpr (tsan_build)
    return bracketed<sizeof(T)>(va, false, [&](std::byte* at) {
      value = reinterpret_cast<std::atomic<T>*>(at)->load(std::memory_order_relaxed);
    });
  u64 control = control_.load(std::memory_order_acquire);
  hit h;
  if (!find<sizeof(T)>(va, control, false, h)) [[unlikely]]
    return false;
  value = reinterpret_cast<std::atomic<T>*>(h.host(va))->load(std::memory_order_relaxed);
  // the data before the second look; pairs with the barrier that ends flush_tlb_mm_range()
  std::atomic_thread_fence(std::memory_order_acquire);
  return h.at->tag.load(std::memory_order_relaxed) == h.tag &&
         control_.load(std::memory_order_relaxed) == control;
}

template <class T> [[gnu::always_inline]] inline bool tlb_t::store(vaddr_t va, T value) {
  return bracketed<sizeof(T)>(va, true, [&](std::byte* at) {
    reinterpret_cast<std::atomic<T>*>(at)->store(value, std::memory_order_relaxed);
  });
}

template <class T, class F> [[gnu::always_inline]] inline bool tlb_t::update(vaddr_t va, F&& access) {
  return bracketed<sizeof(T)>(va, true,
                              [&](std::byte* at) { access(ref<T>(*reinterpret_cast<shared<T>*>(at))); });
}

template <class T> inline u64 tlb_t::gather(std::span<const vaddr_t> addresses, T* values) {
  static constexpr std::atomic<T> nothing{};
  if (!has_spans_.load(std::memory_order_relaxed)) [[unlikely]]
    expect_spans();
  return announced([&](u64 control) {
    u64 missed = 0;
    const std::atomic<T>* at[GATHER_MAX];
    // A prefetch does not wait for its data as a load does, which holds up what comes after it.
    for (std::size_t n = 0; n < addresses.size(); ++n) {
      const vaddr_t va = addresses[n];
      hit h;
      if (find<sizeof(T)>(va, control, false, h)) [[likely]] {
        at[n] = reinterpret_cast<const std::atomic<T>*>(h.host(va));
        __builtin_prefetch(at[n]);
      } else {
        at[n] = &nothing;
        missed |= u64{1} << n;
      }
    }
    for (std::size_t n = 0; n < addresses.size(); ++n)
      values[n] = at[n]->load(std::memory_order_relaxed);
    return missed;
  });
}

template <class F> [[gnu::always_inline]] inline bool tlb_t::span(vaddr_t va, bool write, F&& access) {
  if (!has_spans_.load(std::memory_order_relaxed)) [[unlikely]]
    expect_spans();
  return bracketed<1>(va, write, access);
}

} // namespace racewalk::inline native
