package version

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// need skips the test where a tool that knows the right answer is absent.
func need(t *testing.T, tool, why string) {
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not on this machine: %s is not compared with it here", tool, why)
	}
}

// fewer cuts the work down under -short.
func fewer(n int) int {
	if testing.Short() {
		return n / 20
	}
	return n
}

// ask gives a program its input and returns its output lines. The program must
// succeed and answer each line of input with one.
func ask(t *testing.T, input []byte, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var problems bytes.Buffer
	cmd.Env = append(os.Environ(), "LC_ALL=C") // quicker to start, and one language
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.500s", name, err, problems.String())
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n") // rpm ends with an empty one
	if want := bytes.Count(input, []byte("\n")); len(lines) != want {
		t.Fatalf("%s answered %d lines to %d: %.500s", name, len(lines), want, problems.String())
	}
	return lines
}

// judge compares a program's orders, one line of -1, 0 or 1 a pair, with ours.
func judge(t *testing.T, s Scheme, asked [][2]string, answers []string) {
	t.Helper()
	count, wrong := map[int]int{}, 0
	for i, pair := range asked {
		want, err := strconv.Atoi(answers[i])
		if err != nil {
			t.Fatalf("answer to %q: %v", pair, err)
		}
		got := mustCompare(t, s, pair[0], pair[1])
		if count[got]++; got != want && wrong < 20 {
			wrong++
			t.Errorf("%s %q %q: %d, but the package manager says %d", s, pair[0], pair[1], got, want)
		}
	}
	t.Logf("%d pairs: %d older, %d equal, %d newer", len(asked), count[-1], count[0], count[1])
	if min(count[-1], count[0], count[1]) < len(asked)/20 {
		t.Errorf("the pairs are one-sided and show little")
	}
}

// lines writes pairs as "a b" lines.
func lines(asked [][2]string) []byte {
	var b bytes.Buffer
	for _, pair := range asked {
		fmt.Fprintf(&b, "%s %s\n", pair[0], pair[1])
	}
	return b.Bytes()
}

// relation asks dpkg, one process a line, whether a relation holds; it answers
// with dpkg's exit codes: 0 yes, 1 no, 2 trouble.
const relation = `while read -r a op b; do dpkg --compare-versions "$a" "$op" "$b"; echo $?; done`

func TestDpkgAgrees(t *testing.T) {
	need(t, "dpkg", "the order of deb versions")
	need(t, "sh", "the order of deb versions")
	t.Parallel()
	asked := pairs(Deb, 1, fewer(5_000), realDeb(t), debAlphabet, debMarks, MaxLength)
	for _, part := range [][][2]string{asked[:len(asked)/2], asked[len(asked)/2:]} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			dpkgFinds(t, part)
		})
	}
}

// dpkgFinds asks dpkg to confirm our order of each pair.
func dpkgFinds(t *testing.T, asked [][2]string) {
	op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}
	var input bytes.Buffer
	for _, pair := range asked {
		fmt.Fprintln(&input, pair[0], op[mustCompare(t, Deb, pair[0], pair[1])], pair[1])
	}
	input.WriteString("1 lt 1\n") // shows that a wrong answer is noticed
	answers := ask(t, input.Bytes(), "sh", "-c", relation)
	for i, pair := range asked {
		if answers[i] != "0" {
			t.Errorf("%q %q: dpkg does not find %d (exit %s)", pair[0], pair[1], mustCompare(t, Deb, pair[0], pair[1]), answers[i])
		}
	}
	if answers[len(asked)] != "1" {
		t.Errorf("dpkg did not contradict 1 lt 1: exit %s", answers[len(asked)])
	}
	t.Logf("%d pairs", len(asked))
}

// validity asks dpkg whether versions are valid. It exits 1 where it only warns.
const validity = `while IFS= read -r v; do dpkg --validate-version "$v" 2>/dev/null; echo $?; done`

func TestDpkgValidates(t *testing.T) {
	need(t, "dpkg", "which deb versions are valid")
	need(t, "sh", "which deb versions are valid")
	t.Parallel()
	var asked []string
	for v := range malformed[Deb] {
		if strings.TrimSpace(v) == v && !strings.ContainsAny(v, "\n\x00") {
			asked = append(asked, v) // dpkg trims space; a line cannot hold the rest
		}
	}
	r := rand.New(rand.NewPCG(4, 1))
	for range fewer(200) {
		asked = append(asked, text(r, debAlphabet+"_^")[r.IntN(2):])
	}
	for i, answer := range ask(t, []byte(strings.Join(asked, "\n")+"\n"), "sh", "-c", validity) {
		v := asked[i]
		if strings.HasPrefix(v, "+") || len(v) > MaxLength {
			continue // dpkg reads a sign before an epoch, and any length
		}
		if err := Valid(Deb, v); (err == nil) != (answer == "0") {
			t.Errorf("%q: dpkg exits %s, we say %v", v, answer, err)
		}
	}
}

// perlCompare answers "a b" lines with Dpkg::Version's order.
const perlCompare = `use Dpkg::Version; $| = 0; while (<STDIN>) { my ($a, $b) = split; print version_compare($a, $b), "\n" }`

// perlCheck answers lines with 1 where Dpkg::Version finds the version valid.
const perlCheck = `use Dpkg::Version; while (<STDIN>) { chomp; print scalar(version_check($_)), "\n" }`

func needDpkgVersion(t *testing.T, why string) {
	need(t, "perl", why)
	if err := exec.Command("perl", "-MDpkg::Version", "-e", "1").Run(); err != nil {
		t.Skipf("perl has no Dpkg::Version (libdpkg-perl) on this machine: %s is not compared with it here", why)
	}
}

// perlDigits is the length of number that Dpkg::Version keeps exactly; it uses
// 64 bits and rounds beyond. dpkg itself does not, and is asked about such pairs.
const perlDigits = 18

func TestPerlAgrees(t *testing.T) {
	needDpkgVersion(t, "the order of deb versions")
	t.Parallel()
	asked := pairs(Deb, 2, fewer(300_000), realDeb(t), debAlphabet, debMarks, perlDigits)
	judge(t, Deb, asked, ask(t, lines(asked), "perl", "-e", perlCompare))
}

func TestPerlValidates(t *testing.T) {
	needDpkgVersion(t, "which deb versions are valid")
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 1))
	real, asked := realDeb(t), []string{}
	for i := range fewer(60_000) {
		if i%2 == 0 {
			asked = append(asked, text(r, debAlphabet+"_^ ")[r.IntN(2):])
			continue
		}
		asked = append(asked, mutate(r, real[r.IntN(len(real))], debAlphabet+"_^ ", debMarks))
	}
	valid := 0
	for i, answer := range ask(t, []byte(strings.Join(asked, "\n")+"\n"), "perl", "-e", perlCheck) {
		err := Valid(Deb, asked[i])
		if err == nil {
			valid++
		}
		if (err == nil) != (answer == "1") && !perlIsLax(asked[i]) {
			t.Errorf("%q: Dpkg::Version says %s, we say %v", asked[i], answer, err)
		}
	}
	t.Logf("%d of %d valid", valid, len(asked))
}

// perlIsLax reports where dpkg itself is stricter than Dpkg::Version: nothing
// after an epoch, a colon in the revision, and an epoch that does not fit an
// int. TestDpkgValidates has a case of each.
func perlIsLax(v string) bool {
	epoch, rest, found := strings.Cut(v, ":")
	_, err := strconv.ParseInt(epoch, 10, 32)
	hyphen := strings.LastIndexByte(rest, '-')
	inRevision := hyphen >= 0 && strings.Contains(rest[hyphen:], ":")
	return found && (rest == "" || inRevision || err != nil)
}

// lua answers "a b" lines with rpm's order.
const lua = `%{lua: for l in io.stdin:lines() do local a, b = l:match("^(%S+) (%S+)$"); io.write(rpm.vercmp(a, b), "\n") end}`

func TestRPMAgrees(t *testing.T) {
	need(t, "rpm", "the order of rpm versions")
	t.Parallel()
	if out, err := exec.Command("rpm", "--eval", `%{lua: io.write(rpm.vercmp("1.0^a", "1.0"), rpm.vercmp("1:1-1", "2-1"))}`).Output(); err != nil || strings.TrimSpace(string(out)) != "11" {
		t.Skipf("this rpm does not order carets and epochs from Lua (needs rpm 4.16 or later): %.80q %v", out, err)
	}
	asked := pairs(RPM, 6, fewer(200_000), sample(RPM), rpmAlphabet, rpmMarks, MaxLength)
	judge(t, RPM, asked, ask(t, lines(asked), "rpm", "--eval", lua))
}
