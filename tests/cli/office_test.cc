// A rank's office between letters and the processes of its slots, with a transport that the test plays.
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/ranks/office.h"

namespace racewalk::cli {
namespace {

using explore::packet;

constexpr std::uint64_t SESSION = 7;

packet letter_of(mail kind) { return packet({static_cast<std::byte>(kind)}); }

/// What rank 1 of two sees of the other.
class played : public transport {
 public:
  [[nodiscard]] unsigned rank() const override { return 1; }
  [[nodiscard]] unsigned size() const override { return 2; }
  void send(unsigned, std::vector<std::byte> bytes) override { sent.emplace_back(std::move(bytes)); }
  std::optional<letter> receive() override {
    if (script.empty()) return std::nullopt;
    const packet next = script.front()();
    script.pop_front();
    return letter{0, next.bytes()};
  }
  void finish() override {}

  std::deque<std::function<packet()>> script; ///< what arrives, each when it is asked for
  std::vector<packet> sent;
};

/// What has been sent of the session: its bytes, and whether it has been closed after them.
struct heard {
  std::string words;
  bool closed = false;
};

heard session_of(std::vector<packet> sent) {
  heard all;
  for (packet& p : sent) {
    const auto kind = p.get<mail>();
    if (kind != mail::bytes && kind != mail::closed) continue;
    EXPECT_FALSE(all.closed) << "something comes after the end";
    EXPECT_EQ(p.get<std::uint64_t>(), SESSION);
    EXPECT_EQ(p.get<side>(), side::search);
    if (kind == mail::closed) {
      all.closed = true;
      continue;
    }
    for (const std::byte b : p.get_all<std::byte>())
      all.words += static_cast<char>(b);
  }
  return all;
}

/// A helper says its last words and ends, and only then comes what the search told it before.
TEST(office, hands_on_the_last_words_of_a_helper_that_is_still_written_to) {
  static constexpr std::string_view LAST_WORDS = "everything that was found";
  int ended[2];
  ASSERT_EQ(pipe(ended), 0);
  const std::vector<job> jobs(1);
  nursery children([&](const errand&, int socket, desk&) {
    (void)send(socket, LAST_WORDS.data(), LAST_WORDS.size(), MSG_NOSIGNAL);
    close(socket);
    (void)!write(ended[1], "", 1);
  });
  played ranks;
  ranks.script.emplace_back([] {
    packet p = letter_of(mail::call);
    p.put(std::size_t{0});
    p.put(SESSION);
    return p;
  });
  ranks.script.emplace_back([&] {
    char end = 1;
    EXPECT_EQ(read(ended[0], &end, 1), 1);
    packet p = letter_of(mail::bytes);
    p.put(SESSION);
    p.put(side::helper);
    p.put_all(std::span<const char>("news"));
    return p;
  });
  office here(ranks, children, jobs);
  while (!session_of(ranks.sent).closed)
    here.turn();
  EXPECT_EQ(session_of(ranks.sent).words, LAST_WORDS);
  close(ended[0]);
  close(ended[1]);
}

} // namespace
} // namespace racewalk::cli
