// The variables of a run: which of them are shared, and what happened to the memory they live in.
//
// A location is an event's business only if two threads use it and one writes it, or if another thread may
// free it. A lock's word is an event only if something happens under the lock that others can see: else it
// does not matter who takes it first. All that is learned while exploring: a use that breaks what was
// believed makes the location shared, for good, and says so, and the search starts again. In the end nothing
// was believed wrongly.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "explore/crew.h"
#include "explore/graph.h"

namespace racewalk::explore {

struct location {
  const void* addr = nullptr;
  u8 size = 0;
  u64 initial = 0;
  bool shared = false;
  bool lock = false;      ///< somebody waited to take it
  bool ordered = false;   ///< a lock: it matters who takes it first
  bool looped_on = false; ///< while nobody else used it
  bool plain = false;     ///< somebody uses it as a plain variable
  bool added = false;     ///< somebody adds to it without looking at the result
  bool written = false;   ///< somebody writes to it or waits for it in another way
  bool handled = false;   ///< while nobody else used it: by an interrupt handler of its thread's, too
  u32 readers = 0;        ///< threads
  u32 writers = 0;
  u32 freers = 0; ///< threads that free the object it is in
};

class locations {
 public:
  locations();

  /// The location at `addr`; made on first use, with the value that the storage holds.
  u16 at(const void* addr, u8 size);
  /// The location that counts the sections of `d` on `cpu`.
  u16 sections(unsigned cpu, domain d) { return at(&section_words_[static_cast<unsigned>(d)][cpu], 8); }

  location& operator[](u16 l) { return all_[l]; }
  const location& operator[](u16 l) const { return all_[l]; }
  unsigned size() const { return static_cast<unsigned>(all_.size()); }

  /// What is known of all locations; another process that has them at the same addresses learns it. True if
  /// that makes something an event that was none there.
  void tell(packet* to) const;
  bool learn(packet* from);

  static constexpr unsigned HARDWARE = 31; ///< as a user: what reads page tables at times of its own
  /// Notes a use; true if it makes the location shared that was not.
  bool note_use(u16 l, unsigned thread, bool writes);
  /// Makes no difference who takes this lock first, as far as is known?
  bool unordered_lock(u16 l) const { return all_[l].lock && !all_[l].ordered && !all_[l].shared; }
  bool any_unordered_lock() const;
  /// Do threads only add to it? Then additions have no order.
  bool counter(u16 l) const { return all_[l].added && !all_[l].written && !all_[l].plain; }
  bool any_counter() const;
  /// Notes how it is changed; true if it is an event's business and now known otherwise than before.
  bool note_change(u16 l, bool adds);
  /// Makes it shared; true if it was not.
  bool share(u16 l);
  /// Notes that `thread` frees these bytes; true if that makes a location shared that was not.
  bool note_free(const void* p, u64 bytes, unsigned thread);

  /// Notes that `cpu` has sections of `d`, or that they are waited for; true if they become events by that.
  bool note_section(unsigned cpu, domain d);
  bool note_wait(unsigned cpu, domain d);
  bool sections_matter(unsigned cpu, domain d) const {
    const auto i = static_cast<unsigned>(d);
    return (begun_[i] & waited_[i]) >> cpu & 1;
  }

 private:
  struct freed_range {
    const char* begin;
    const char* end;
    u32 freers;
  };
  void grow();
  freed_range& range_at(const char* begin, const char* end);
  bool apply_frees(const freed_range& range);
  bool share_if_used_by_several(u16 l);

  std::vector<location> all_;
  std::vector<u16> table_; ///< open addressing by address; 0xffff: empty
  std::vector<freed_range> freed_;
  u64 section_words_[N_DOMAINS][MAX_CPUS] = {};
  std::array<u64, N_DOMAINS> begun_{};
  std::array<u64, N_DOMAINS> waited_{};
};

/// The values of locations that only this thread uses, since its last start.
class private_values {
 public:
  void clear() { epoch_++; }
  u64 get(u16 l, u64 initial) const { return l < v_.size() && v_[l].epoch == epoch_ ? v_[l].value : initial; }
  void set(u16 l, u64 value) {
    if (l >= v_.size()) v_.resize(l + 16u);
    v_[l] = {epoch_, value};
  }

 private:
  struct slot {
    u64 epoch = 0;
    u64 value = 0;
  };
  std::vector<slot> v_;
  u64 epoch_ = 1;
};

} // namespace racewalk::explore
