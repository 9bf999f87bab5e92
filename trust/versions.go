package trust

// Newer reports whether any part of v is newer than the same part of w.
func (v Versions) Newer(w Versions) bool {
	return v.Root > w.Root || v.Timestamp > w.Timestamp || v.Snapshot > w.Snapshot || v.Targets > w.Targets || v.Hosts > w.Hosts
}
