// Slots in the model backend, outside a run: every architecture at every geometry, chosen as a run chooses
// them.

#include "entries.h"
#include "slot_checks.h"

namespace racewalk {
namespace {

/// Makes `value` the setting in force until the end of the scope.
template <class T> class scoped_setting {
 public:
  explicit scoped_setting(const T& value) : before_(current_setting<T>) { current_setting<T> = &value; }
  ~scoped_setting() { current_setting<T> = before_; }
  scoped_setting(const scoped_setting&) = delete;
  scoped_setting& operator=(const scoped_setting&) = delete;

 private:
  const T* before_;
};

class Slots : public ArchTest {};
FOR_EVERY_ARCH(Slots);

TEST_P(Slots, DoWhatTheirNamesSay) {
  for (const geometry_t& g : geometries) {
    SCOPED_TRACE(testing::Message() << unsigned{g.levels} << " levels of " << g.entries());
    const scoped_setting<arch_desc> with_arch(a);
    const scoped_setting<geometry_t> with_geometry(g);
    ASSERT_EQ(&arch(), &a);
    check_slot_functions();
  }
}

TEST(Settings, DefaultToTheNativeOnes) {
  EXPECT_EQ(&arch(), &native_arch);
  EXPECT_EQ(&geometry(), &native_geometry);
}

} // namespace
} // namespace racewalk
