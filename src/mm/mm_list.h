// The address spaces of a machine, for those who come from outside and must not find one half taken down.
//
// An mm is in the list from when it is whole until exit_mmap(), which waits for its users. The list's lock is
// a leaf: no lock of an mm is taken with it. Native only.
#pragma once

#include <condition_variable>
#include <list>
#include <mutex>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

class mm_list {
 public:
  /// Does nothing when memory is short.
  void enter(mm_struct& mm);
  /// Waits until nobody uses the mm. Caller holds no lock of the mm.
  void exit(const mm_struct& mm);

  /// Keeps the mm in the list until put(). False, and it does not, if it is not there or leaving.
  [[nodiscard]] bool get(const mm_struct* mm);
  void put(const mm_struct* mm);
  /// The mm that follows `mm` in a circle, to be got; the first if `mm` is gone, null if there is none.
  /// `*wrapped`: that was the last one, or there is none.
  [[nodiscard]] mm_struct* next(const mm_struct* mm, bool* wrapped);

 private:
  struct slot {
    mm_struct* mm;
    unsigned users = 0;
    bool leaving = false;
  };
  std::list<slot>::iterator find(const mm_struct* mm);

  std::mutex lock_;
  std::condition_variable unused_;
  std::list<slot> slots_;
};

/// Uses an mm while it lives, if it can be used.
class mm_user {
 public:
  mm_user(mm_list& mms, const mm_struct* mm) : mms_(mms), mm_(mms.get(mm) ? mm : nullptr) {}
  ~mm_user() {
    if (mm_ != nullptr) mms_.put(mm_);
  }
  mm_user(const mm_user&) = delete;
  mm_user& operator=(const mm_user&) = delete;

  explicit operator bool() const { return mm_ != nullptr; }

 private:
  mm_list& mms_;
  const mm_struct* mm_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
