package doctor

import "go.yaml.in/yaml/v3"

// cloudNetwork reads what a config of cloud-init says of the network: `network: {config: disabled}`, and when it is
// updated. A file that is no YAML says nothing.
func cloudNetwork(text string) (config string, when []string) {
	var doc struct {
		Network struct {
			Config any `yaml:"config"`
		} `yaml:"network"`
		Updates struct {
			Network struct {
				When []string `yaml:"when"`
			} `yaml:"network"`
		} `yaml:"updates"`
	}
	if yaml.Unmarshal([]byte(text), &doc) != nil {
		return "", nil
	}
	config, _ = doc.Network.Config.(string)
	return config, doc.Updates.Network.When
}
