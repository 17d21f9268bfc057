// Package e2e holds journeys through the real program: its tests build it once,
// run it as users do, and break the processes that it starts. It refuses to look
// into them: what it knows, it knows from their ports, their output and the
// sources that they ask.
//
// With GEECACHE_E2E_FULL=1 the tests under load run for 20 seconds, else for a
// few. With -tags=chaos there is TestChaos too, which needs root on Linux: it breaks
// clusters whose processes have hosts of their own. With -tags=docker there are tests of
// the image and of the cluster of containers, which `make step STEP=docker` runs. With GEECACHE_E2E_BINARY they run that program instead of building one.
package e2e
