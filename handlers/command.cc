// SPDX-License-Identifier: Apache-2.0
#include "handlers/command.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "handlers/plain_command.h"

namespace starling::handlers {
namespace {

constexpr int kMaxGroups = 1024;
// ioprio_set(2) has no header.
constexpr int kIoPriorityProcess = 1;

/// What the child does between vfork and exec, prepared so that it only makes system calls.
struct Plan {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::string program;                ///< with a '/'
  std::optional<PlainCommand> plain;  ///< tried first
  std::vector<char*> plain_arguments;
  std::vector<char*> plain_environment;
  int input = -1;
  int output = -1;
  pid_t supervisor = -1;
  const char* directory = nullptr;
  int nice = 0;
  unsigned io_priority = 0;
  int mask = -1;
  bool change_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  // Set by the child, in our memory.
  volatile int error = 0;
  const char* volatile step = nullptr;
  volatile bool plain_failed = false;
};

tl::unexpected<Error> unavailable(const std::string& what, int error) {
  std::string message = "cannot start a handler: " + what + ": " + std::strerror(error);
  if (error == EMFILE || error == ENFILE) message += "; raise the limit of open files";
  if (error == EAGAIN) message += "; raise the limit of processes";
  if (error == E2BIG) message += "; shorten the tags, the event's name or the command";
  return fail(ErrorKind::kUnavailable, std::move(message));
}

/// The child of vfork: our memory, but its own descriptors and signal dispositions. Returns only on
/// an error.
void become_command(Plan& plan) {
  const auto must = [&plan](long result, const char* step) {
    if (result >= 0) return true;
    plan.error = errno;
    plan.step = step;
    return false;
  };
  ::setpgid(0, 0);
  if (!must(::dup2(plan.input, STDIN_FILENO), "dup") ||
      !must(::dup2(plan.output, STDOUT_FILENO), "dup") ||
      !must(::dup2(plan.output, STDERR_FILENO), "dup")) {
    return;
  }
  ::syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
  if (plan.nice != 0) {
    if (!must(::setpriority(PRIO_PROCESS, 0, plan.nice), "nice")) return;
  }
  if (plan.io_priority != 0 &&
      !must(::syscall(SYS_ioprio_set, kIoPriorityProcess, 0, plan.io_priority), "ionice")) {
    return;
  }
  if (plan.mask >= 0) ::umask(static_cast<mode_t>(plan.mask));
  // By number: glibc's functions would change all threads, and this memory is not ours alone.
  if (plan.change_user &&
      (!must(::syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()), "user") ||
       !must(::syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid), "user") ||
       !must(::syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid), "user"))) {
    return;
  }
  if (plan.directory != nullptr && !must(::chdir(plan.directory), "cwd")) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != plan.supervisor) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (plan.plain) {
    ::execve(plan.plain_arguments[0], plan.plain_arguments.data(), plan.plain_environment.data());
    plan.plain_failed = true;  // the shell will know better, or say what is wrong
  }
  ::execve(plan.program.c_str(), plan.arguments.data(), plan.environment.data());
  must(-1, "exec");
}

__attribute__((noinline)) pid_t spawn(Plan& plan) {
  const pid_t pid = ::vfork();
  if (pid != 0) return pid;
  become_command(plan);
  ::_exit(127);
}

/// As a shell finds it. Empty: nowhere.
std::string find_program(const std::string& name, const std::vector<char*>& environment) {
  if (name.find('/') != std::string::npos) return name;
  std::string_view path = "/usr/local/bin:/usr/bin:/bin";
  for (const char* variable : environment) {
    if (variable != nullptr && std::strncmp(variable, "PATH=", 5) == 0) path = variable + 5;
  }
  while (!path.empty()) {
    const size_t colon = std::min(path.find(':'), path.size());
    std::string candidate(path.substr(0, colon));
    path.remove_prefix(std::min(colon + 1, path.size()));
    if (candidate.empty()) candidate = ".";
    candidate += "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

Result<void> plan_user(const std::string& user, Plan& plan) {
  if (user.empty()) return {};
  errno = 0;
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry == nullptr) {
    uid_t number = 0;
    const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), number);
    if (error == std::errc{} && end == user.data() + user.size()) entry = ::getpwuid(number);
  }
  if (entry == nullptr) {
    return fail(ErrorKind::kUnavailable, "cannot start a handler: there is no user \"" + user +
                                             "\" on this host; make it, or change `user`");
  }
  if (entry->pw_uid == ::geteuid()) return {};
  plan.uid = entry->pw_uid;
  plan.gid = entry->pw_gid;
  plan.groups.resize(kMaxGroups);
  int count = kMaxGroups;
  if (::getgrouplist(entry->pw_name, entry->pw_gid, plan.groups.data(), &count) < 0) {
    count = kMaxGroups;
  }
  plan.groups.resize(static_cast<size_t>(count));
  plan.change_user = true;
  return {};
}

/// A descriptor from which `input` can be read.
Result<FileDescriptor> make_input(const std::string& input) {
  if (input.empty()) {
    FileDescriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (nothing.get() < 0) return unavailable("/dev/null", errno);
    return nothing;
  }
  // All of it is there before the command starts, and nobody need stay to write it.
  FileDescriptor memory(::memfd_create("input", MFD_CLOEXEC));
  if (memory.get() < 0) return unavailable("its input", errno);
  std::string_view left = input;
  while (!left.empty()) {
    const ssize_t written = ::write(memory.get(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return unavailable("its input", errno);
    left.remove_prefix(static_cast<size_t>(written));
  }
  ::lseek(memory.get(), 0, SEEK_SET);
  return memory;
}

std::string explain(const Plan& plan) {
  const std::string step = plan.step;
  if (step == "exec") return plan.program;
  if (step == "cwd") return "its cwd " + std::string(plan.directory);
  if (step == "user") return "its user (only an agent that is root can change it)";
  if (step == "nice" || step == "ionice") return step + " (only root may raise a priority)";
  return step;
}

template <typename Strings>
std::vector<char*> pointers(const Strings& strings) {
  std::vector<char*> list;
  list.reserve(static_cast<size_t>(strings.size()) + 1);
  for (const std::string& text : strings) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

/// Direct children of a thread of a process; empty also if the kernel does not tell.
std::vector<pid_t> children_of(pid_t pid) {
  const std::string name = std::to_string(pid);
  std::ifstream file("/proc/" + name + "/task/" + name + "/children");
  std::vector<pid_t> list;
  for (pid_t child = 0; file >> child;) list.push_back(child);
  return list;
}

/// Where control groups can be made: our own, of the unified hierarchy. Empty: nowhere.
std::string find_parent_group() {
  // "0::/path"
  std::ifstream own("/proc/self/cgroup");
  std::string line;
  while (std::getline(own, line) && !line.starts_with("0::")) line.clear();
  if (line.empty()) return {};
  std::string parent = "/sys/fs/cgroup" + line.substr(3);
  if (::access((parent + "/cgroup.procs").c_str(), W_OK) != 0) return {};
  while (parent.ends_with('/')) parent.pop_back();
  return parent;
}

const std::string& parent_group() {
  static const std::string parent = find_parent_group();
  return parent;
}

}  // namespace

void prepare_commands() {
  static_cast<void>(parent_group());
  prepare_plain_commands();
}

Result<StartedCommand> start_command(const job::Order& order) {
  Plan plan;
  plan.arguments = pointers(order.arguments());
  plan.environment = pointers(order.environment());
  plan.program = find_program(order.arguments(0), plan.environment);
  if (plan.program.empty()) return unavailable(order.arguments(0), ENOENT);
  if (auto user = plan_user(order.user(), plan); !user) return tl::unexpected(user.error());
  auto input = make_input(order.input());
  if (!input) return tl::unexpected(input.error());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return unavailable("pipe", errno);
  FileDescriptor output(ends[0]);
  const FileDescriptor theirs(ends[1]);
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);  // our end only
  plan.input = input->get();
  plan.output = theirs.get();
  plan.supervisor = ::getpid();
  if (!order.directory().empty()) plan.directory = order.directory().c_str();
  plan.nice = order.nice();
  plan.io_priority = order.io_priority();
  // Another user may see other directories than we do: the shell's business.
  if (!plan.change_user) plan.plain = plain_command(order);
  if (plan.plain) {
    plan.plain_arguments = pointers(plan.plain->arguments);
    plan.plain_environment = pointers(plan.plain->environment);
  }
  if (order.set_umask()) plan.mask = static_cast<int>(order.umask());
  const pid_t pid = spawn(plan);
  if (pid < 0) return unavailable("fork", errno);
  if (plan.step != nullptr) {
    ::waitpid(pid, nullptr, 0);
    return unavailable(explain(plan), plan.error);
  }
  return StartedCommand{pid, std::move(output), plan.plain && !plan.plain_failed};
}

ControlGroup::ControlGroup(const std::string& name) {
  if (name.empty()) return;
  const std::string& parent = parent_group();
  if (parent.empty()) return;
  const std::string path = parent + "/" + name;
  if (::mkdir(path.c_str(), 0755) != 0) return;
  path_ = path;
  processes_ = path + "/cgroup.procs";
}

ControlGroup::~ControlGroup() {
  if (!path_.empty()) ::rmdir(path_.c_str());
}

void ControlGroup::kill() const {
  if (path_.empty()) return;
  std::ofstream(path_ + "/cgroup.kill") << "1\n";
}

void reap_others(pid_t keep) {
  for (const pid_t child : children_of(::getpid())) {
    siginfo_t info{};
    if (child != keep) ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG);
  }
}

void kill_descendants(pid_t keep) {
  // Each round finds what the one before has orphaned. What forks faster than this is met by the
  // limit of rounds and, where there is one, by the control group.
  constexpr int kRounds = 500;
  constexpr useconds_t kPause_us = 2000;
  for (int round = 0; round < kRounds; ++round) {
    // Before the look at its children: should it end in between, they would be neither its own any
    // more nor yet in the list of ours.
    siginfo_t info{};
    const bool ended =
        ::waitid(P_PID, static_cast<id_t>(keep), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != 0;
    std::vector<pid_t> queue = children_of(::getpid());
    for (size_t i = 0; i < queue.size() && queue.size() < 65'536; ++i) {
      const std::vector<pid_t> more = children_of(queue[i]);
      queue.insert(queue.end(), more.begin(), more.end());
    }
    std::erase(queue, keep);
    if (queue.empty() && ended) return;
    for (const pid_t pid : queue) ::kill(pid, SIGKILL);
    ::usleep(kPause_us);
    reap_others(keep);
  }
}

}  // namespace starling::handlers
