// A rank: its children, and what passes between them and other ranks.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cli/ranks/mail.h"
#include "cli/ranks/nursery.h"
#include "cli/ranks/transport.h"
#include "cli/selection.h"
#include "explore/packet.h"

namespace racewalk::cli {

class office {
 public:
  office(transport& ranks, nursery& children, const std::vector<job>& jobs);
  virtual ~office();
  office(const office&) = delete;
  office& operator=(const office&) = delete;

  [[nodiscard]] unsigned rank() const { return ranks_.rank(); }
  /// Waits for a moment for something to happen, and sees to it.
  void turn();
  /// Rank 0 has said that all is done, or is gone.
  [[nodiscard]] bool over() const { return over_; }
  /// Can the ranks take leave of each other?
  [[nodiscard]] bool all_alive() const { return all_alive_; }

 protected:
  void post(unsigned to, const explore::packet& p);
  static explore::packet packet_of(mail kind);
  [[nodiscard]] unsigned ranks() const { return ranks_.size(); }
  /// Has a process on this machine ended? (Of others only their silence tells.)
  class watched {
   public:
    watched() = default;
    watched(const std::string& host, pid_t pid);
    ~watched();
    watched(watched&& other) noexcept;
    watched& operator=(watched&& other) noexcept;
    void heard() { last_ = std::chrono::steady_clock::now(); }
    [[nodiscard]] bool gone();

   private:
    int descriptor_ = -1; ///< -1: it is elsewhere
    bool watched_ = false;
    std::chrono::steady_clock::time_point last_{};  ///< when it was heard
    std::chrono::steady_clock::time_point asked_{}; ///< when gone() was
  };
  static std::string host();

  /// A letter that is none for an ordinary rank.
  virtual void receive_as_first(unsigned, mail, explore::packet) {}
  void lose(unsigned rank);
  bool all_alive_ = true;

 private:
  struct child {
    errand what;
    int socket = -1; ///< -1: closed, or a session's
    desk* shared = nullptr;
    std::vector<std::byte> in;
    std::uint64_t told = 0; ///< executions that rank 0 knows of
  };
  struct session {
    unsigned peer = 0; ///< rank of the other end
    int socket = -1;   ///< of the process at this end
    std::deque<std::byte> out;
    bool closing = false; ///< when all of `out` is out
  };
  using session_key = std::pair<std::uint64_t, side>;

  void receive(unsigned from, explore::packet p);
  void start_check(std::size_t job);
  void share(std::size_t job, std::uint64_t id, unsigned with);
  void help(std::size_t job, std::uint64_t id, unsigned with);
  bool read_child(child& c);
  void finish(std::uint64_t id, const std::string& accident);
  void answer(child& c, const std::string& accident);
  void read_session(const session_key& key);
  void write_session(const session_key& key);
  void close_session(const session_key& key, bool tell);
  void tell_progress();
  void beat();

  transport& ranks_;
  nursery& children_;
  const std::vector<job>& jobs_;
  std::deque<explore::packet> to_self_;
  std::map<std::uint64_t, child> alive_;
  std::map<session_key, session> sessions_;
  std::uint64_t next_id_ = 1;
  bool stopping_ = false;
  bool over_ = false;
  watched first_;
  std::chrono::steady_clock::time_point last_beat_{};
};

} // namespace racewalk::cli
