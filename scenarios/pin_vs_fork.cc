// S5.11: may fork share a page that a lockless walk is about to pin?
//
// Fork gives a page that may be pinned to the child as a copy, so that the pin's holder and the parent go on
// to see the same. A lockless walk may pin just after fork has looked. So fork announces itself by
// write_protect_seq, and a walk that finds that it has moved gives its pins up (57efa1fe5957). Linux has a
// write barrier between the announcement and the look. For a small folio that suffices: fork's reference and
// the pin are read-modify-writes of one word, so the later one has seen what came before the earlier. A large
// folio's pins are in another word than its references, and a process that has never pinned anything says so
// in a third: "I wrote one, then read the other" on both sides, which takes a full barrier on both.
#include "catalogue.h"
#include "mm/fork.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  LARGE = 1, ///< the page is part of a huge one
  FIRST = 2, ///< nothing of the mm has been pinned before
  SLOW = 4,  ///< the pin is taken under locks
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    if ((shape & LARGE) != 0)
      map_anonymous(parent_, 0, pmd_size(), "h", VM_HUGEPAGE);
    else
      map_anonymous(parent_, 0, PAGE_SIZE, "p");
    if ((shape & FIRST) == 0) set_bit(MMF_HAS_PINNED, parent_.flags);
    (void)dup_areas(child_, parent_);
    cpu([this, shape] {
      got_ = nullptr;
      const bool pinned = (shape & SLOW) != 0
                              ? pin_user_pages(parent_, 0, 1, FOLL_WRITE, &got_) == 1
                              : pin_user_pages_fast_only(parent_, 0, 1, FOLL_WRITE, &got_) == 1;
      if (!pinned) got_ = nullptr; // what has been given up again stands there
    });
    cpu([this] {
      write_guard mmap_lock(parent_.existing_region(0)->mmap_lock);
      (void)copy_pages(child_, parent_);
    });
    finally([this] {
      if (got_ == nullptr) return;
      VM_BUG_ON(page_at(child_, 0) == got_, "INV-EXCL",
                "the page is pinned for the parent, and the child has it: one of them will see a copy");
      VM_BUG_ON(page_at(parent_, 0) == got_ && !PageAnonExclusive(got_), "INV-EXCL",
                "the page is pinned, and the parent's next store goes to a copy");
    });
  }

 private:
  mm_struct& parent_ = new_mm();
  mm_struct& child_ = new_mm();
  page* got_ = nullptr;
};

auto in(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}
auto with_wmb(unsigned shape) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.fork_fence = fork_fence_t::wmb;
  };
}
void without_seq(settings& s) { s.policy.fork_write_protect_seq = false; }
void protecting_first(settings& s) {
  without_seq(s);
  s.policy.fork_protects_first = true;
}

} // namespace

scenario pin_vs_fork() {
  return {
      .id = "S5.11",
      .name = "pin_vs_fork",
      .summary = "a page is pinned without locks while fork decides whether to share it",
      .source = "57efa1fe5957 (mm/gup: prevent gup_fast from racing with COW during fork), 70e806e4e645",
      .threads = {"pin", "fork"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "a sequence, a full barrier, the look for pins", nullptr, always_safe},
              {"a-L", "large", "as a, the page is part of a huge one", in(LARGE), always_safe},
              {"a-F", "first_pin", "as a, and the first that is ever pinned", in(FIRST), always_safe},
              {"a-S", "slow", "as a, the pin is taken under locks", in(SLOW), always_safe},
              {"b", "no_seq", "no sequence: a pin may come after the look (5.9)", without_seq,
               always_violation},
              {"c", "wmb", "a sequence and a write barrier, as in Linux", with_wmb(0), always_safe},
              {"c-L", "wmb_large", "as c, the page is part of a huge one", with_wmb(LARGE),
               violation_if_weak},
              {"c-F", "wmb_first_pin", "as c, the first that is ever pinned", with_wmb(FIRST),
               violation_if_weak},
              {"d", "protect_first",
               "no sequence: the entry loses its right, full barrier, the look for pins", protecting_first,
               always_safe},
              {"d-B", "protect_first_no_mb", "as d without the barrier",
               [](settings& s) {
                 protecting_first(s);
                 s.policy.fork_protects_first_barrier = false;
               },
               violation_if_weak},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
