package judge

// tests returns the judge's tests in the order in which they are run, each in a file of
// its own name.
func tests() []test {
	return []test{
		deployTest(),
		redeployTest(),
		discoveryTest(),
		countsTest(),
		scaleTest(),
		logsTest(),
		metricsTest(),
		networkTest(),
		cacheTest(),
		recoveryTest(),
		costTest(),
		setupTest(),
		fidelityTest(),
	}
}
