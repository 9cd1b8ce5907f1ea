// Package passwd verifies passwords against the hashes that htpasswd, openssl
// passwd and mkpasswd make: bcrypt, MD5 crypt ($apr1$, $1$), SHA-2 crypt ($5$, $6$),
// {SHA}, {SSHA} and {PLAIN}. It makes no hash and keeps nothing.
package passwd
