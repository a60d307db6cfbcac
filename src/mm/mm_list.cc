#include "mm/mm_list.h"

#include <algorithm>
#include <new>

namespace racewalk::inline RACEWALK_BACKEND {

std::list<mm_list::slot>::iterator mm_list::find(const mm_struct* mm) {
  return std::find_if(slots_.begin(), slots_.end(), [mm](const slot& s) { return s.mm == mm; });
}

void mm_list::enter(mm_struct& mm) {
  std::lock_guard guard(lock_);
  try {
    slots_.push_back({&mm});
  } catch (const std::bad_alloc&) {
    return; // it gets no huge pages by itself, as on Linux
  }
}

void mm_list::exit(const mm_struct& mm) {
  std::unique_lock guard(lock_);
  const auto it = find(&mm);
  if (it == slots_.end()) return;
  it->leaving = true; // no more users
  unused_.wait(guard, [it] { return it->users == 0; });
  slots_.erase(it);
}

bool mm_list::get(const mm_struct* mm) {
  std::lock_guard guard(lock_);
  const auto it = find(mm);
  if (it == slots_.end() || it->leaving) return false;
  ++it->users;
  return true;
}

void mm_list::put(const mm_struct* mm) {
  std::lock_guard guard(lock_);
  if (--find(mm)->users == 0) unused_.notify_all();
}

mm_struct* mm_list::next(const mm_struct* mm, bool* wrapped) {
  std::lock_guard guard(lock_);
  *wrapped = slots_.empty();
  if (slots_.empty()) return nullptr;
  const auto it = find(mm);
  if (it != slots_.end() && std::next(it) != slots_.end()) return std::next(it)->mm;
  *wrapped = it != slots_.end();
  return slots_.front().mm;
}

} // namespace racewalk::inline RACEWALK_BACKEND
