/* Prints the addresses of a name as getaddrinfo has them: the resolver of the C
 * library that it is linked with. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct addrinfo hints, *list, *a;
	char text[64];

	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = SOCK_STREAM;
	if (argc != 2 || getaddrinfo(argv[1], 0, &hints, &list))
		return 1;
	for (a = list; a; a = a->ai_next) {
		void *addr = a->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr
						     : (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;
		puts(inet_ntop(a->ai_family, addr, text, sizeof text));
	}
	return 0;
}
